// The parts that the ways to multiply codes have in common: rows of activations made ready, and
// panels of the weight, a few outputs at a time, whose sums stay in the cache until they are
// scaled.
#ifndef WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_PANEL_H_
#define WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_PANEL_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/scratch.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Outputs that are summed together, at most. Rows of sums lie this far apart.
constexpr int64_t kPanel = 64;

// Rows of x as a kernel reads them: of its element type, zeros from the K-th up to whole vectors,
// for which kPadding is enough, and each row on a cache line.
struct PackedRows {
  static constexpr int64_t kPadding = 64;  // elements

  const void* data;
  const int32_t* corrections;  // [M], added to each sum of a row
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

// How one instruction set takes dot products of codes along K.
struct DotKernel {
  int64_t element_bytes;
  // Writes a packed row and returns its correction.
  int32_t (*pack_row)(const int8_t* x, int64_t k, void* packed);
  // sums[m * kPanel + n], corrected, for every row of x and n in [0, count), count <= kPanel; past
  // them, up to a multiple of 4, it writes values without meaning. w[count,K].
  void (*dot)(const PackedRows& x, const int8_t* w, int64_t count, int32_t* sums);
};

// By 16-bit products, on any machine.
DotKernel WideningDot();

// What `kernel` reads for x. Shares the work with the team where there is much; the calling thread
// keeps the memory, and its next call overwrites it.
PackedRows PackRows(const DotKernel& kernel, MatrixView<const int8_t> x);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_PANEL_H_
