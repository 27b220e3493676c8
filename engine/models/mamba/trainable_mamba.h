// Mamba in training.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_TRAINABLE_MAMBA_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_TRAINABLE_MAMBA_H_

#include "absl/status/statusor.h"
#include "engine/layers/training/trainable_parameter.h"
#include "engine/models/mamba/mamba_config.h"
#include "engine/models/trainable_model.h"

namespace whipsnake::engine {

// Makes the layers over the parameters of MambaParameters(config). Mamba has no dropout.
absl::StatusOr<TrainableLayers> MakeTrainableMamba(const MambaConfig& config,
                                                   TrainableParameters& parameters);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_TRAINABLE_MAMBA_H_
