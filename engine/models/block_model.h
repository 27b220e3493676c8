// The model that all families of blocks share: an embedding, a residual stream through blocks, and
// a head. A family supplies the blocks and the kind of their states.
#ifndef WHIPSNAKE_ENGINE_MODELS_BLOCK_MODEL_H_
#define WHIPSNAKE_ENGINE_MODELS_BLOCK_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/layers/block.h"
#include "engine/layers/embedding.h"
#include "engine/layers/language_head.h"
#include "engine/layers/state.h"
#include "engine/layers/weights.h"
#include "engine/models/model.h"
#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

struct BlockModelWeights {
  Embedding embedding;
  std::vector<std::unique_ptr<Block>> blocks;
  LanguageHead head;
};

struct BlockModelSpec {
  // Everything but weights_bytes, state_bytes and unused_tensors, which MakeBlockModel fills in.
  ModelInfo info;
  std::string description;   // in messages: "a Mamba of 24 layers"
  int64_t hidden_size = 0;   // d, the width of the residual stream
  int64_t widest_input = 0;  // the most inputs of any matrix product in a block
  // Loads the weights, all from this loader. Called twice: to plan and to load.
  std::function<absl::StatusOr<BlockModelWeights>(WeightLoader&)> load;
  // What a tensor that `load` does not ask for is.
  Surplus (*surplus)(std::string_view name) = [](std::string_view) { return Surplus::kOfLayers; };
  std::unique_ptr<const StateFactory> states;
  // Observes the input of the head, [R,d]; may be null.
  std::function<void(const kernels::Context& context, kernels::MatrixView<const float> u)>
      observe_head_input;
};

// Makes a model in two passes over the checkpoint: the first checks every tensor and counts bytes,
// the second loads. Errors as from LoadModel().
absl::StatusOr<std::unique_ptr<Model>> MakeBlockModel(BlockModelSpec spec,
                                                      std::shared_ptr<const Checkpoint> checkpoint,
                                                      const ModelEnvironment& environment);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_BLOCK_MODEL_H_
