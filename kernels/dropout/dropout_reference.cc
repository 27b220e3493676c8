#include <cmath>

#include "kernels/dropout/dropout.h"

namespace whipsnake::kernels::reference {

// The constants and the rounds are those of Salmon et al. (SC 2011).
void Philox(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]) {
  uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
  uint32_t k[2] = {key[0], key[1]};
  for (int round = 0; round < 10; ++round) {
    const uint64_t first = uint64_t{0xD2511F53} * c[0], second = uint64_t{0xCD9E8D57} * c[2];
    c[0] = static_cast<uint32_t>(second >> 32) ^ c[1] ^ k[0];
    c[1] = static_cast<uint32_t>(second);
    c[2] = static_cast<uint32_t>(first >> 32) ^ c[3] ^ k[1];
    c[3] = static_cast<uint32_t>(first);
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  for (int i = 0; i < 4; ++i) words[i] = c[i];
}

float Factor(const DropoutMask& mask, int64_t t, int64_t i) {
  const auto low = [](uint64_t n) { return static_cast<uint32_t>(n); };
  const auto high = [](uint64_t n) { return static_cast<uint32_t>(n >> 32); };
  const uint32_t counter[] = {low(i / 4), low(t), low(mask.stream), high(mask.stream)};
  const uint32_t key[] = {low(mask.seed), high(mask.seed)};
  uint32_t words[4];
  Philox(counter, key, words);
  const double p = mask.probability;
  return words[i % 4] < p * 0x1p32 ? 0.0f : static_cast<float>(1 / (1 - p));
}

void Dropout(const DropoutMask& mask, MatrixView<const float> x, MatrixView<float> y) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < x.cols; ++i) y.row(t)[i] = x.row(t)[i] * Factor(mask, t, i);
  }
}

void AddDropout(const DropoutMask& mask, MatrixView<const float> x, MatrixView<const float> r,
                MatrixView<float> y) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < x.cols; ++i) {
      y.row(t)[i] = r.row(t)[i] + x.row(t)[i] * Factor(mask, t, i);
    }
  }
}

}  // namespace whipsnake::kernels::reference
