#include "engine/finetune/freezing/random_order.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <numeric>

#include "kernels/dropout/dropout.h"

namespace whipsnake::engine {
namespace {

// Uniform in (0,1). The counter's second word is a row that no dropout mask has, so that the seed
// of a run gives other numbers here than in its masks.
double UniformNumber(uint64_t seed, int64_t draw, int64_t item) {
  const auto low = [](uint64_t bits) { return static_cast<uint32_t>(bits); };
  const uint32_t counter[4] = {low(item), 0xffffffff, low(draw), low(draw >> 32)};
  const uint32_t key[2] = {low(seed), low(seed >> 32)};
  uint32_t words[4];
  kernels::reference::Philox(counter, key, words);
  const uint64_t bits = (uint64_t{words[0]} << 32 | words[1]) >> 12;
  return (static_cast<double>(bits) + 0.5) * 0x1p-52;
}

}  // namespace

std::vector<int64_t> RandomOrder(uint64_t seed, int64_t draw, std::span<const double> logits) {
  std::vector<double> keys;
  for (int64_t i = 0; i < std::ssize(logits); ++i) {
    keys.push_back(logits[i] - std::log(-std::log(UniformNumber(seed, draw, i))));
  }
  std::vector<int64_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater(), [&](int64_t i) { return keys[i]; });
  return order;
}

std::vector<int64_t> RandomOrder(uint64_t seed, int64_t draw, int64_t items) {
  return RandomOrder(seed, draw, std::vector<double>(items, 0.0));
}

}  // namespace whipsnake::engine
