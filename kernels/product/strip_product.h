// The innermost loops of a product: a strip of a times a strip of b (see packed_operand.h).
#ifndef WHIPSNAKE_KERNELS_PRODUCT_STRIP_PRODUCT_H_
#define WHIPSNAKE_KERNELS_PRODUCT_STRIP_PRODUCT_H_

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/matrix.h"
#include "kernels/product/packed_operand.h"

namespace whipsnake::kernels {

// What a product of strips prefetches into the second-level cache while it computes: words of a
// strip that is read later. May be past the end of an array.
struct Ahead {
  const uint32_t* words;

  // Called for every pair of tiles. Prefetches four cache lines.
  void Prefetch(int64_t tile) const {
    constexpr int64_t kLine = 16;
    for (int64_t i = 0; i < 4; ++i) __builtin_prefetch(words + (4 * tile + i) * kLine, 0, 2);
  }
};

// One implementation of a product of strips, and the form in which it takes them. b is always word
// major.
struct StripProduct {
  WordFormat format;
  TileOrder order_of_a;
  double nanoseconds_per_word;  // of each factor: an estimate
  // sums[kStrip, kStrip] = Σ over the words of `tiles` pairs of tiles. The arrays are aligned to
  // cache lines.
  void (*multiply)(const uint32_t* a, const uint32_t* b, int64_t tiles, const Ahead& ahead,
                   float* sums);
  // A thread calls begin() before it multiplies and end() afterwards.
  void (*begin)();
  void (*end)();
};

// Where sums go: c = bias + sums, c = sums if bias is null, or c += sums. With `stream`, they go to
// memory and not into the caches, where the system would first have to read what they replace; a
// thread then calls hwy::FlushStream() after its last sums.
struct SumsTarget {
  MatrixView<float> c;
  const float* bias = nullptr;
  bool accumulate = false;
  bool stream = false;

  SumsTarget Part(int64_t m, int64_t rows, int64_t n, int64_t cols) const {
    return {c.Rows(m, rows).Columns(n, cols), bias != nullptr ? bias + n : nullptr, accumulate,
            stream};
  }
};

// Writes the first rows and columns of sums[kStrip, kStrip], as many as the target has.
void WriteSums(const float* sums, const SumsTarget& target);

// Returns the fastest on this CPU.
const StripProduct& BestStripProduct(DType arithmetic);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_PRODUCT_STRIP_PRODUCT_H_
