#include <cmath>
#include <vector>

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

void RmsNormBackward(MatrixView<const float> x, const float* gamma, float epsilon,
                     MatrixView<const float> g, MatrixView<float> gx, float* ggamma) {
  const int64_t columns = x.cols;
  std::vector<double> gamma_sums(columns);
  for (int64_t t = 0; t < x.rows; ++t) {
    double square_mean = 0, kx_mean = 0;
    for (int64_t i = 0; i < columns; ++i) {
      const double x_i = x.row(t)[i];
      square_mean += x_i * x_i / columns;
      kx_mean += double{g.row(t)[i]} * gamma[i] * x_i / columns;
    }
    const double rstd = 1 / std::sqrt(square_mean + epsilon);
    for (int64_t i = 0; i < columns; ++i) {
      const double normal = x.row(t)[i] * rstd, k = double{g.row(t)[i]} * gamma[i];
      gx.row(t)[i] = static_cast<float>(gx.row(t)[i] + rstd * (k - normal * rstd * kx_mean));
      gamma_sums[i] += g.row(t)[i] * normal;
    }
  }
  if (ggamma == nullptr) return;
  for (int64_t i = 0; i < columns; ++i) ggamma[i] = static_cast<float>(ggamma[i] + gamma_sums[i]);
}

}  // namespace whipsnake::kernels::reference
