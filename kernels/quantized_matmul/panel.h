// The common parts of the quantized products: packed rows of activations, and panels of a few
// outputs of the weight, whose sums stay in the cache until they are scaled.
#ifndef WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_PANEL_H_
#define WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_PANEL_H_

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"
#include "kernels/cpu/workspace.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// The largest number of outputs of a panel, and the distance between rows of sums.
constexpr int64_t kPanel = 64;

// Rows of x in the kernel's element type. Each row starts on a cache line and is padded with zeros
// from the K-th element up to whole vectors; kPadding is enough for that. Owns nothing.
struct PackedRows {
  static constexpr int64_t kPadding = 64;  // elements

  const void* data;
  const int32_t* corrections;  // [M], each added to every sum of its row
  int64_t m;
  int64_t k;
  int64_t stride;  // elements

  template <typename T>
  const T* Row(int64_t row) const {
    return static_cast<const T*>(data) + row * stride;
  }
  PackedRows Rows(int64_t begin, int64_t count, int64_t element_bytes) const {
    return {static_cast<const std::byte*>(data) + begin * stride * element_bytes,
            corrections + begin, count, k, stride};
  }
};

// The dot products of codes along K for one instruction set.
struct DotKernel {
  int64_t element_bytes;
  // Writes a packed row and returns its correction.
  int32_t (*pack_row)(const int8_t* x, int64_t k, void* packed);
  // Writes the corrected sums[m * kPanel + n] for every row of x and n in [0, count), count <=
  // kPanel. Past count, up to a multiple of 4, it writes undefined values. w is [count,K].
  void (*dot)(const PackedRows& x, const int8_t* w, int64_t count, int32_t* sums);
};

// Uses 16-bit products. Runs on any machine.
DotKernel WideningDot();

// Packs x for `kernel` into `scratch`. Uses the context's team if x is large.
PackedRows PackRows(const Context& context, const DotKernel& kernel, MatrixView<const int8_t> x,
                    OperationScratch& scratch);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_PANEL_H_
