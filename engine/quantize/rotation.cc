#include "engine/quantize/rotation.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/hadamard/hadamard.h"

namespace whipsnake::engine {

void RotateRows(const kernels::Context& context, kernels::MatrixView<float> weight) {
  kernels::Hadamard(context, weight, 1.0f / std::sqrt(static_cast<float>(weight.cols)), weight);
}

void RotateColumns(const kernels::Context& context, kernels::MatrixView<float> weight) {
  // Works on several columns at once, so that whole cache lines of a row are used.
  constexpr int64_t kColumns = 64;
  std::vector<float> transposed(kColumns * weight.rows);
  for (int64_t begin = 0; begin < weight.cols; begin += kColumns) {
    const int64_t count = std::min(kColumns, weight.cols - begin);
    const kernels::MatrixView<float> columns(transposed.data(), count, weight.rows);
    for (int64_t r = 0; r < weight.rows; ++r) {
      for (int64_t c = 0; c < count; ++c) columns.row(c)[r] = weight.row(r)[begin + c];
    }
    RotateRows(context, columns);
    for (int64_t r = 0; r < weight.rows; ++r) {
      for (int64_t c = 0; c < count; ++c) weight.row(r)[begin + c] = columns.row(c)[r];
    }
  }
}

}  // namespace whipsnake::engine
