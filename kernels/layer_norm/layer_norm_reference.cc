#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/layer_norm/layer_norm.h"

namespace whipsnake::kernels::reference {

void ResidualLayerNorm(MatrixView<const float> h, MatrixView<float> residual,
                       const LayerNormWeights& weights, MatrixView<float> y) {
  const int64_t columns = residual.cols;
  for (int64_t t = 0; t < residual.rows; ++t) {
    float* r = residual.row(t);
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < columns; ++i) {
      if (!h.empty()) r[i] += h.row(t)[i];
      mean += r[i];
    }
    mean /= columns;
    for (int64_t i = 0; i < columns; ++i) variance += (r[i] - mean) * (r[i] - mean);
    const double scale = 1 / std::sqrt(variance / columns + weights.epsilon);
    for (int64_t i = 0; i < columns; ++i) {
      y.row(t)[i] =
          static_cast<float>(weights.gamma[i] * ((r[i] - mean) * scale) + weights.beta[i]);
    }
  }
}

namespace {

// Writes x̂ of one row and returns its rstd.
double NormalizeRow(const float* x, int64_t columns, double epsilon, double* normal) {
  double mean = 0, variance = 0;
  for (int64_t i = 0; i < columns; ++i) mean += x[i] / static_cast<double>(columns);
  for (int64_t i = 0; i < columns; ++i) {
    normal[i] = x[i] - mean;
    variance += normal[i] * normal[i] / columns;
  }
  const double rstd = 1 / std::sqrt(variance + epsilon);
  for (int64_t i = 0; i < columns; ++i) normal[i] *= rstd;
  return rstd;
}

// Adds to the gradients. normalize(t, normal) writes row t of x̂ and returns its rstd.
template <typename Normalize>
void Backward(const Normalize& normalize, const float* weight, MatrixView<const float> g,
              const LayerNormGradients& gradients) {
  const int64_t columns = g.cols;
  std::vector<double> gamma(columns), beta(columns), normal(columns), k(columns);
  for (int64_t t = 0; t < g.rows; ++t) {
    const double rstd = normalize(t, normal.data());
    double k_mean = 0, k_normal_mean = 0;
    for (int64_t i = 0; i < columns; ++i) {
      k[i] = double{g.row(t)[i]} * weight[i];
      k_mean += k[i] / columns;
      k_normal_mean += k[i] * normal[i] / columns;
      gamma[i] += g.row(t)[i] * normal[i];
      beta[i] += g.row(t)[i];
    }
    for (int64_t i = 0; i < columns; ++i) {
      float& gx = gradients.x.row(t)[i];
      gx = static_cast<float>(gx + rstd * (k[i] - k_mean - normal[i] * k_normal_mean));
    }
  }
  for (int64_t i = 0; i < columns; ++i) {
    if (gradients.gamma != nullptr) {
      gradients.gamma[i] = static_cast<float>(gradients.gamma[i] + gamma[i]);
    }
    if (gradients.beta != nullptr) {
      gradients.beta[i] = static_cast<float>(gradients.beta[i] + beta[i]);
    }
  }
}

}  // namespace

void LayerNormBackward(MatrixView<const float> x, const LayerNormWeights& weights,
                       MatrixView<const float> g, const LayerNormGradients& gradients) {
  const auto normalize = [&](int64_t t, double* normal) {
    return NormalizeRow(x.row(t), x.cols, weights.epsilon, normal);
  };
  Backward(normalize, weights.gamma, g, gradients);
}

void NormalizedLayerNormBackward(MatrixView<const float> normalized, const float* rstd,
                                 const float* gamma, MatrixView<const float> g,
                                 const LayerNormGradients& gradients) {
  const auto normalize = [&](int64_t t, double* normal) {
    std::copy_n(normalized.row(t), normalized.cols, normal);
    return double{rstd[t]};
  };
  Backward(normalize, gamma, g, gradients);
}

void LayerNormalize(MatrixView<const float> x, float epsilon, MatrixView<float> normalized,
                    float* rstd) {
  std::vector<double> normal(x.cols);
  for (int64_t t = 0; t < x.rows; ++t) {
    rstd[t] = static_cast<float>(NormalizeRow(x.row(t), x.cols, epsilon, normal.data()));
    for (int64_t i = 0; i < x.cols; ++i) normalized.row(t)[i] = static_cast<float>(normal[i]);
  }
}

}  // namespace whipsnake::kernels::reference
