#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/causal_conv1d/causal_conv1d.h"

namespace whipsnake::kernels::reference {
namespace {

// sum(window, e) is the sum over the taps of channel e, where `window` holds the inputs under them,
// oldest first. output(sum, e) turns it into an element of y.
template <typename T, typename Sum, typename Output>
void Convolve(std::span<const BasicConvRun<T>> runs, MatrixView<const T> x, int64_t width,
              MatrixView<T> y, const Sum& sum, const Output& output) {
  std::vector<T> window(width);
  for (const BasicConvRun<T>& run : runs) {
    for (int64_t e = 0; e < x.cols; ++e) {
      for (int64_t k = 0; k < width - 1; ++k) window[k] = run.state[k * x.cols + e];
      for (int64_t t = run.begin; t < run.begin + run.length; ++t) {
        window[width - 1] = x.row(t)[e];
        y.row(t)[e] = output(sum(window, e), e);
        for (int64_t k = 0; k < width - 1; ++k) window[k] = window[k + 1];
      }
      for (int64_t k = 0; k < width - 1; ++k) run.state[k * x.cols + e] = window[k];
    }
  }
}

double Silu(double v) { return v / (1.0 + std::exp(-v)); }

double SiluSlope(double v) {
  const double sigmoid = 1.0 / (1.0 + std::exp(-v));
  return sigmoid * (1.0 + v * (1.0 - sigmoid));
}

// Adds the sums to the gradients that are wanted.
void AddTo(float* gradients, const std::vector<double>& sums) {
  if (gradients == nullptr) return;
  for (size_t i = 0; i < sums.size(); ++i) {
    gradients[i] = static_cast<float>(gradients[i] + sums[i]);
  }
}

}  // namespace

void CausalConv1dSilu(std::span<const ConvRun> runs, MatrixView<const float> x, const float* weight,
                      const float* bias, int64_t width, MatrixView<float> y) {
  const auto sum = [&](const std::vector<float>& window, int64_t e) {
    double total = bias != nullptr ? bias[e] : 0.0f;
    for (int64_t k = 0; k < width; ++k) total += double{weight[k * x.cols + e]} * window[k];
    return total;
  };
  Convolve(runs, x, width, y, sum,
           [](double total, int64_t) { return static_cast<float>(Silu(total)); });
}

void CausalConv1dSilu(std::span<const QuantizedConvRun> runs, const QuantizedConvOperands& o) {
  const auto sum = [&](const std::vector<int8_t>& window, int64_t e) {
    int32_t total = 0;
    for (int64_t k = 0; k < o.width; ++k) total += o.weight[k * o.x.cols + e] * window[k];
    return total;
  };
  Convolve(runs, o.x, o.width, o.y, sum, [&](int32_t total, int64_t e) {
    const float v =
        (o.bias != nullptr ? o.bias[e] : 0.0f) + o.multiplier[e] * static_cast<float>(total);
    return ToCode(o.output_multiplier[e] * static_cast<float>(Silu(v)));
  });
}

void CausalConv1dSiluBackward(std::span<const RowRange> sequences, MatrixView<const float> x,
                              const float* weight, const float* bias, int64_t width,
                              MatrixView<const float> g, const CausalConv1dGradients& gradients) {
  const int64_t channels = x.cols;
  std::vector<double> gweight(width * channels), gbias(channels);
  for (const RowRange& sequence : sequences) {
    for (int64_t e = 0; e < channels; ++e) {
      std::vector<double> gx(sequence.length);
      for (int64_t t = 0; t < sequence.length; ++t) {
        // Calls tap(weight's index, u) for every tap whose input, that of token u, is within the
        // sequence.
        const auto for_each_tap = [&](const auto& tap) {
          for (int64_t k = 0; k < width; ++k) {
            const int64_t u = t - (width - 1) + k;
            if (u >= 0) tap(k * channels + e, u);
          }
        };
        const auto input = [&](int64_t u) { return x.row(sequence.begin + u)[e]; };
        double v = bias != nullptr ? bias[e] : 0.0f;
        for_each_tap([&](int64_t at, int64_t u) { v += double{weight[at]} * input(u); });
        const double s = g.row(sequence.begin + t)[e] * SiluSlope(v);
        for_each_tap([&](int64_t at, int64_t u) {
          gx[u] += weight[at] * s;
          gweight[at] += s * input(u);
        });
        gbias[e] += s;
      }
      for (int64_t t = 0; t < sequence.length; ++t) {
        gradients.x.row(sequence.begin + t)[e] = static_cast<float>(gx[t]);
      }
    }
  }
  AddTo(gradients.weight, gweight);
  AddTo(gradients.bias, gbias);
}

}  // namespace whipsnake::kernels::reference
