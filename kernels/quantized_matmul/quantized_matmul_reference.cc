#include "kernels/quantized_matmul/quantized_matmul.h"

namespace whipsnake::kernels::reference {
namespace {

float Scaled(MatrixView<const int8_t> x, WeightView w, const float* multiplier, const float* bias,
             int64_t m, int64_t n) {
  const int8_t* weight = static_cast<const int8_t*>(w.data) + n * w.k;
  int32_t sum = 0;
  for (int64_t k = 0; k < w.k; ++k) sum += int32_t{x.row(m)[k]} * int32_t{weight[k]};
  const float product = static_cast<float>(sum) * multiplier[n];
  return bias != nullptr ? product + bias[n] : product;
}

}  // namespace

void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const float* multiplier,
                     const float* bias, MatrixView<int8_t> y) {
  for (int64_t m = 0; m < x.rows; ++m) {
    for (int64_t n = 0; n < w.n; ++n) y.row(m)[n] = ToCode(Scaled(x, w, multiplier, bias, m, n));
  }
}

void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const float* multiplier,
                     const float* bias, MatrixView<float> y) {
  for (int64_t m = 0; m < x.rows; ++m) {
    for (int64_t n = 0; n < w.n; ++n) y.row(m)[n] = Scaled(x, w, multiplier, bias, m, n);
  }
}

}  // namespace whipsnake::kernels::reference
