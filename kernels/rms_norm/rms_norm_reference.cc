#include <cmath>

#include "kernels/rms_norm/rms_norm.h"

namespace whipsnake::kernels::reference {
namespace {

// write(y, value) stores one element of the result.
template <typename T, typename Write>
void Normalize(MatrixView<const float> h, MatrixView<float> residual, const float* gamma,
               float epsilon, MatrixView<T> y, const Write& write) {
  for (int64_t t = 0; t < residual.rows; ++t) {
    float* r = residual.row(t);
    double sum_of_squares = 0;
    for (int64_t d = 0; d < residual.cols; ++d) {
      if (!h.empty()) r[d] += h.row(t)[d];
      sum_of_squares += static_cast<double>(r[d]) * r[d];
    }
    const double scale = 1 / std::sqrt(sum_of_squares / residual.cols + epsilon);
    for (int64_t d = 0; d < residual.cols; ++d) {
      write(y.row(t)[d], static_cast<float>(gamma[d] * r[d] * scale));
    }
  }
}

}  // namespace

void ResidualRmsNorm(MatrixView<const float> h, MatrixView<float> residual, const float* gamma,
                     float epsilon, MatrixView<float> y) {
  Normalize(h, residual, gamma, epsilon, y, [](float& to, float value) { to = value; });
}

void ResidualRmsNorm(MatrixView<const float> h, MatrixView<float> residual, const float* gamma,
                     float epsilon, MatrixView<int8_t> y) {
  Normalize(h, residual, gamma, epsilon, y, [](int8_t& to, float value) { to = ToCode(value); });
}

}  // namespace whipsnake::kernels::reference
