#include "engine/models/logits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/softmax/softmax.h"

namespace whipsnake::engine {

int64_t KnownTokens(const ModelInfo& info, int64_t tokenizer_size) {
  return std::min(info.vocab_size, tokenizer_size);
}

// Uses independent lanes, so that the compiler can use vector registers.
float Largest(std::span<const float> values) {
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> lanes;
  lanes.fill(-std::numeric_limits<float>::infinity());
  const size_t whole = values.size() - values.size() % kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane];
      lanes[lane] = value > lanes[lane] ? value : lanes[lane];
    }
  }
  float largest = *std::max_element(lanes.begin(), lanes.end());
  for (const float value : values.subspan(whole)) largest = std::max(largest, value);
  return largest;
}

double LogNormalizer(std::span<const float> logits, std::vector<float>& scratch) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  scratch.resize(logits.size());
  std::ranges::transform(logits, scratch.begin(),
                         [](float logit) { return std::isfinite(logit) ? logit : kNever; });
  const float largest = Largest(scratch);
  if (largest == kNever) return kNever;
  double sum = 0;
  constexpr int64_t kBlocks = 16;  // per call
  std::array<float, kBlocks> sums;
  for (int64_t begin = 0; begin < std::ssize(scratch); begin += kBlocks * kernels::kSoftmaxBlock) {
    const int64_t count = std::min(std::ssize(scratch) - begin, kBlocks * kernels::kSoftmaxBlock);
    sums.fill(0);
    float* piece = scratch.data() + begin;
    kernels::SoftmaxWeights(kernels::Context(), piece, count, largest, /*scale=*/1, piece,
                            sums.data());
    for (const float block : sums) sum += block;
  }
  return largest + std::log(sum);
}

}  // namespace whipsnake::engine
