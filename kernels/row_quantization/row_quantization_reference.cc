#include <algorithm>
#include <cmath>

#include "kernels/row_quantization/row_quantization.h"

namespace whipsnake::kernels::reference {

void QuantizeRows(MatrixView<const float> x, MatrixView<int8_t> y, float* scale) {
  for (int64_t t = 0; t < x.rows; ++t) {
    float largest = 0;
    for (int64_t i = 0; i < x.cols; ++i) largest = std::fmax(largest, std::abs(x.row(t)[i]));
    scale[t] = largest / 127.0f;
    reference::QuantizeRows(x.Rows(t, 1), largest == 0 ? 0 : 1 / scale[t], y.Rows(t, 1));
  }
}

void QuantizeRows(MatrixView<const float> x, float inverse_scale, MatrixView<int8_t> y) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < x.cols; ++i) y.row(t)[i] = ToCode(x.row(t)[i] * inverse_scale);
  }
}

}  // namespace whipsnake::kernels::reference
