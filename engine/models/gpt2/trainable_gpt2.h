// GPT-2 in training.
#ifndef WHIPSNAKE_ENGINE_MODELS_GPT2_TRAINABLE_GPT2_H_
#define WHIPSNAKE_ENGINE_MODELS_GPT2_TRAINABLE_GPT2_H_

#include <optional>

#include "absl/status/statusor.h"
#include "engine/layers/training/trainable_parameter.h"
#include "engine/models/gpt2/gpt2_config.h"
#include "engine/models/trainable_model.h"

namespace whipsnake::engine {

// Makes the layers over the parameters of Gpt2Parameters(config). `dropout` replaces the
// probabilities of the config.
absl::StatusOr<TrainableLayers> MakeTrainableGpt2(const Gpt2Config& config,
                                                  std::optional<float> dropout,
                                                  TrainableParameters& parameters);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_TRAINABLE_GPT2_H_
