#include <cmath>

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

}  // namespace whipsnake::kernels::reference
