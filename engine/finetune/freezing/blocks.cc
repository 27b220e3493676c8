#include "engine/finetune/freezing/blocks.h"

#include <iterator>
#include <map>
#include <utility>

namespace whipsnake::engine {

std::vector<std::vector<int64_t>> BlocksOf(std::span<const ScheduledLayer> layers) {
  std::map<int64_t, std::vector<int64_t>> by_number;
  for (int64_t layer = 0; layer < std::ssize(layers); ++layer) {
    if (layers[layer].block >= 0) by_number[layers[layer].block].push_back(layer);
  }
  std::vector<std::vector<int64_t>> blocks;
  for (auto& [number, members] : by_number) blocks.push_back(std::move(members));
  return blocks;
}

}  // namespace whipsnake::engine
