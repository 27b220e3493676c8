// A transformer block in training. The equations are those of engine/layers/transformer_block.h,
// with dropout of the attention's weights and of both layers' outputs.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_TRANSFORMER_BLOCK_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_TRANSFORMER_BLOCK_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/layers/training/trainable_block.h"
#include "engine/layers/training/trainable_parameter.h"
#include "engine/layers/transformer_block.h"

namespace whipsnake::engine {

struct TransformerDropout {
  float attention = 0;  // of the attention's weights
  float residual = 0;   // of the outputs of attention and feed-forward
};

// The dropout sites of a block: [first, first + kTransformerDropoutSites).
inline constexpr int64_t kTransformerDropoutSites = 3;

// Makes the block whose parameters' names begin with `prefix`. `first_site` is its first dropout
// site.
absl::StatusOr<std::unique_ptr<TrainableBlock>> MakeTrainableTransformerBlock(
    TrainableParameters& parameters, const std::string& prefix,
    const TransformerBlockConfig& config, int64_t heads, const TransformerDropout& dropout,
    int64_t first_site);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_TRAINABLE_TRANSFORMER_BLOCK_H_
