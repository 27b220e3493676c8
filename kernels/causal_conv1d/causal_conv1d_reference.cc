#include <cmath>
#include <vector>

#include "kernels/causal_conv1d/causal_conv1d.h"

namespace whipsnake::kernels::reference {

void CausalConv1dSilu(std::span<const ConvRun> runs, MatrixView<const float> x, const float* weight,
                      const float* bias, int64_t width, MatrixView<float> y) {
  const int64_t channels = x.cols;
  std::vector<float> window(width);  // the inputs under the taps, oldest first
  for (const ConvRun& run : runs) {
    for (int64_t e = 0; e < channels; ++e) {
      for (int64_t k = 0; k < width - 1; ++k) window[k] = run.state[k * channels + e];
      for (int64_t t = run.begin; t < run.begin + run.length; ++t) {
        window[width - 1] = x.row(t)[e];
        double sum = bias != nullptr ? bias[e] : 0.0f;
        for (int64_t k = 0; k < width; ++k) sum += double{weight[k * channels + e]} * window[k];
        y.row(t)[e] = static_cast<float>(sum / (1.0 + std::exp(-sum)));
        for (int64_t k = 0; k < width - 1; ++k) window[k] = window[k + 1];
      }
      for (int64_t k = 0; k < width - 1; ++k) run.state[k * channels + e] = window[k];
    }
  }
}

}  // namespace whipsnake::kernels::reference
