#include "kernels/matmul/matmul.h"

namespace whipsnake::kernels::reference {
namespace {

// Returns an element of w in fp32, which represents fp32 and bf16 exactly.
float WeightAt(const WeightView& w, int64_t index) {
  if (w.format.dtype == DType::kBF16) return FromBF16(static_cast<const uint16_t*>(w.data)[index]);
  return static_cast<const float*>(w.data)[index];
}

}  // namespace

void Matmul(MatrixView<const float> x, WeightView w, const float* bias, MatrixView<float> y,
            ActivationFunction f) {
  for (int64_t m = 0; m < x.rows; ++m) {
    for (int64_t n = 0; n < w.n; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < w.k; ++k) {
        const float value = x.row(m)[k];
        const float rounded = w.format.dtype == DType::kBF16 ? FromBF16(ToBF16(value)) : value;
        sum += static_cast<double>(rounded) * WeightAt(w, n * w.k + k);
      }
      y.row(m)[n] = static_cast<float>(Value(f, sum + (bias != nullptr ? bias[n] : 0.0f)));
    }
  }
}

}  // namespace whipsnake::kernels::reference
