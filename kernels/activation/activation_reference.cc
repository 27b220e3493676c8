#include <cmath>

#include "kernels/activation/activation.h"

namespace whipsnake::kernels::reference {

void Silu(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    const double v = x[i];
    // The limit, which the formula would make -infinity / infinity.
    y[i] = v == -INFINITY ? -0.0f : static_cast<float>(v / (1.0 + std::exp(-v)));
  }
}

void Softplus(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] = x[i] > 20.0f ? x[i] : static_cast<float>(std::log1p(std::exp(double{x[i]})));
  }
}

}  // namespace whipsnake::kernels::reference
