// Non-owning views of row-major matrices, the operands of every kernel.
#ifndef WHIPSNAKE_KERNELS_MATRIX_H_
#define WHIPSNAKE_KERNELS_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/dtype.h"
#include "kernels/weight_format.h"

namespace whipsnake::kernels {

// `stride` is the distance between rows in elements and may exceed `cols`, so that a column range
// of a larger matrix, such as z in [x|z], is also a view. Owns nothing.
template <typename T>
struct MatrixView {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  MatrixView() = default;
  MatrixView(T* first, int64_t row_count, int64_t col_count)
      : MatrixView(first, row_count, col_count, col_count) {}
  MatrixView(T* first, int64_t row_count, int64_t col_count, int64_t row_stride)
      : data(first), rows(row_count), cols(col_count), stride(row_stride) {}
  // Converts a mutable view to a constant one.
  template <typename U>
  requires std::is_same_v<const U, T> MatrixView(
      const MatrixView<U>& other)  // NOLINT: implicit on purpose
      : MatrixView(other.data, other.rows, other.cols, other.stride) {}

  T* row(int64_t r) const { return data + r * stride; }
  bool empty() const { return rows == 0 || cols == 0; }

  MatrixView Rows(int64_t begin, int64_t count) const {
    return MatrixView(data + begin * stride, count, cols, stride);
  }
  MatrixView Columns(int64_t begin, int64_t count) const {
    return MatrixView(data + begin, rows, count, stride);
  }
};

// The rows [begin, begin + length) of a matrix: the tokens of one sequence of a batch, length >= 1.
struct RowRange {
  int64_t begin = 0;
  int64_t length = 0;
};

// A weight matrix [N,K] in checkpoint layout: contiguous, one row per output, each row in the
// format's layout. Owns nothing.
struct WeightView {
  const void* data = nullptr;
  WeightFormat format;
  int64_t n = 0;
  int64_t k = 0;

  int64_t row_bytes() const { return format.RowBytes(k); }
  int64_t bytes() const { return n * row_bytes(); }
  const std::byte* row(int64_t index) const {
    return static_cast<const std::byte*>(data) + index * row_bytes();
  }
};

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_MATRIX_H_
