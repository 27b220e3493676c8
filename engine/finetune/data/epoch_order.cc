#include "engine/finetune/data/epoch_order.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// Maps a random number to one below `limit`, which is positive. The bias is below limit / 2^64.
int64_t Below(uint64_t bits, int64_t limit) {
  return static_cast<int64_t>(bits % static_cast<uint64_t>(limit));
}

}  // namespace

void Shuffle(const Randomness& random, std::span<int64_t> items) {
  for (int64_t i = std::ssize(items) - 1; i > 0; --i) {
    std::swap(items[i], items[Below(random.Bits(i), i + 1)]);
  }
}

Randomness EpochRandomness(uint64_t seed, int64_t epoch, std::string_view purpose) {
  return {seed, absl::StrCat("epoch ", epoch, " ", ToAbsl(purpose))};
}

void SortPools(int64_t pool_size, const std::function<int64_t(int64_t item)>& length,
               std::span<int64_t> items) {
  while (!items.empty()) {
    const std::span<int64_t> pool = items.first(std::min<int64_t>(pool_size, std::ssize(items)));
    std::ranges::stable_sort(pool, {}, length);
    items = items.subspan(pool.size());
  }
}

}  // namespace whipsnake::engine
