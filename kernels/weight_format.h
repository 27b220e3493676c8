// How a weight's elements are stored.
#ifndef WHIPSNAKE_KERNELS_WEIGHT_FORMAT_H_
#define WHIPSNAKE_KERNELS_WEIGHT_FORMAT_H_

#include <cstdint>

#include "kernels/dtype.h"

namespace whipsnake::kernels {

// The layout of a row of a weight, and the only source of its size. Today's formats are kF32,
// kBF16 and kI8, each with K elements per row and nothing between them; kI8 has one fp32 scale per
// row.
struct WeightFormat {
  DType dtype = DType::kF32;  // of the elements
  // For codes: the number of neighbouring elements of a row that share a scale, 0 for the whole
  // row, and the type of the scales. No format has groups yet. The scale of a whole row is stored
  // apart from the weight, so it is no part of the row's bytes.
  int64_t group = 0;
  DType scale_dtype = DType::kF32;

  constexpr WeightFormat() = default;
  // The format whose elements are of this type, without groups.
  constexpr WeightFormat(DType type) : dtype(type) {}  // NOLINT: implicit on purpose

  // The bytes of a row of `k` elements.
  constexpr int64_t RowBytes(int64_t k) const { return k * ByteSize(dtype); }
};

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_WEIGHT_FORMAT_H_
