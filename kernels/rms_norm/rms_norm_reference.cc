#include <algorithm>
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

namespace {

// Writes x̂ of one row and returns its rstd.
double NormalizeRow(const float* x, int64_t columns, double epsilon, double* normal) {
  double square_mean = 0;
  for (int64_t i = 0; i < columns; ++i) square_mean += double{x[i]} * x[i] / columns;
  const double rstd = 1 / std::sqrt(square_mean + epsilon);
  for (int64_t i = 0; i < columns; ++i) normal[i] = x[i] * rstd;
  return rstd;
}

// Adds to the gradients. normalize(t, normal) writes row t of x̂ and returns its rstd.
template <typename NormalizeRowOf>
void Backward(const NormalizeRowOf& normalize, const float* gamma, MatrixView<const float> g,
              MatrixView<float> gx, float* ggamma) {
  const int64_t columns = g.cols;
  std::vector<double> gamma_sums(columns), normal(columns);
  for (int64_t t = 0; t < g.rows; ++t) {
    const double rstd = normalize(t, normal.data());
    double k_normal_mean = 0;
    for (int64_t i = 0; i < columns; ++i) {
      k_normal_mean += double{g.row(t)[i]} * gamma[i] * normal[i] / columns;
    }
    for (int64_t i = 0; i < columns; ++i) {
      const double k = double{g.row(t)[i]} * gamma[i];
      gx.row(t)[i] = static_cast<float>(gx.row(t)[i] + rstd * (k - normal[i] * k_normal_mean));
      gamma_sums[i] += g.row(t)[i] * normal[i];
    }
  }
  if (ggamma == nullptr) return;
  for (int64_t i = 0; i < columns; ++i) ggamma[i] = static_cast<float>(ggamma[i] + gamma_sums[i]);
}

}  // namespace

void RmsNormBackward(MatrixView<const float> x, const float* gamma, float epsilon,
                     MatrixView<const float> g, MatrixView<float> gx, float* ggamma) {
  const auto normalize = [&](int64_t t, double* normal) {
    return NormalizeRow(x.row(t), x.cols, epsilon, normal);
  };
  Backward(normalize, gamma, g, gx, ggamma);
}

void NormalizedRmsNormBackward(MatrixView<const float> normalized, const float* rstd,
                               const float* gamma, MatrixView<const float> g, MatrixView<float> gx,
                               float* ggamma) {
  const auto normalize = [&](int64_t t, double* normal) {
    std::copy_n(normalized.row(t), normalized.cols, normal);
    return double{rstd[t]};
  };
  Backward(normalize, gamma, g, gx, ggamma);
}

void RmsNormalize(MatrixView<const float> x, float epsilon, MatrixView<float> normalized,
                  float* rstd) {
  std::vector<double> normal(x.cols);
  for (int64_t t = 0; t < x.rows; ++t) {
    rstd[t] = static_cast<float>(NormalizeRow(x.row(t), x.cols, epsilon, normal.data()));
    for (int64_t i = 0; i < x.cols; ++i) normalized.row(t)[i] = static_cast<float>(normal[i]);
  }
}

}  // namespace whipsnake::kernels::reference
