// A Mamba-1 block in training. The equations are those of engine/models/mamba/mamba_block.h.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_TRAINABLE_MAMBA_BLOCK_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_TRAINABLE_MAMBA_BLOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/layers/training/trainable_block.h"
#include "engine/layers/training/trainable_parameter.h"
#include "engine/models/mamba/mamba_config.h"

namespace whipsnake::engine {

// Makes the block whose parameters' names begin with `prefix`.
absl::StatusOr<std::unique_ptr<TrainableBlock>> MakeTrainableMambaBlock(
    TrainableParameters& parameters, const std::string& prefix, const MambaConfig& config);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_TRAINABLE_MAMBA_BLOCK_H_
