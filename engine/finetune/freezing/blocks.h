// The blocks of a model: transformer or Mamba blocks.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_FREEZING_BLOCKS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_FREEZING_BLOCKS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/finetune/freezing/layer_scheduler.h"

namespace whipsnake::engine {

// Returns the layers of each block, blocks in the order of their numbers. Layers of no block are in
// none.
std::vector<std::vector<int64_t>> BlocksOf(std::span<const ScheduledLayer> layers);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_FREEZING_BLOCKS_H_
