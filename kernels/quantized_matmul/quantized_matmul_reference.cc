#include "kernels/quantized_matmul/quantized_matmul.h"

namespace whipsnake::kernels::reference {
namespace {

float Scaled(MatrixView<const int8_t> x, const WeightView& w, const SumScaling& scaling, int64_t m,
             int64_t n) {
  const int8_t* weight = static_cast<const int8_t*>(w.data) + n * w.k;
  int32_t sum = 0;
  for (int64_t k = 0; k < w.k; ++k) sum += int32_t{x.row(m)[k]} * int32_t{weight[k]};
  float value = static_cast<float>(sum) * scaling.multiplier[n];
  if (scaling.row_scale != nullptr) value *= scaling.row_scale[m];
  if (scaling.bias != nullptr) value += scaling.bias[n];
  return static_cast<float>(Value(scaling.f, value));
}

}  // namespace

void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const SumScaling& scaling,
                     MatrixView<int8_t> y) {
  for (int64_t m = 0; m < x.rows; ++m) {
    for (int64_t n = 0; n < w.n; ++n) {
      y.row(m)[n] = ToCode(Scaled(x, w, scaling, m, n) * scaling.inverse_scale);
    }
  }
}

void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const SumScaling& scaling,
                     MatrixView<float> y) {
  for (int64_t m = 0; m < x.rows; ++m) {
    for (int64_t n = 0; n < w.n; ++n) y.row(m)[n] = Scaled(x, w, scaling, m, n);
  }
}

}  // namespace whipsnake::kernels::reference
