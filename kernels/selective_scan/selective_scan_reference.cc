#include <cmath>
#include <vector>

#include "kernels/activation/activation.h"
#include "kernels/selective_scan/selective_scan.h"

namespace whipsnake::kernels::reference {

void SelectiveScan(std::span<const ScanRun> runs, const SelectiveScanOperands& o) {
  const int64_t channels = o.x.cols;
  const int64_t states = o.b.cols;
  for (const ScanRun& run : runs) {
    for (int64_t t = run.begin; t < run.begin + run.length; ++t) {
      for (int64_t e = 0; e < channels; ++e) {
        const double x = o.x.row(t)[e];
        float step = o.delta.row(t)[e] + (o.delta_bias != nullptr ? o.delta_bias[e] : 0.0f);
        Softplus(&step, 1, &step);
        double y = o.d[e] * x;
        for (int64_t n = 0; n < states; ++n) {
          float& h = run.state[n * channels + e];
          h = static_cast<float>(std::exp(double{step} * o.a[n * channels + e]) * h +
                                 step * x * o.b.row(t)[n]);
          y += double{h} * o.c.row(t)[n];
        }
        float gate = o.z.row(t)[e];
        Activate({Activation::kSilu}, &gate, 1, &gate);
        o.y.row(t)[e] = static_cast<float>(y * gate);
      }
    }
  }
}

namespace {

// A matrix of codes, expanded to fp32.
class Dequantized {
 public:
  explicit Dequantized(const ScaledCodes& matrix)
      : rows_(matrix.codes.rows), cols_(matrix.codes.cols) {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t i = 0; i < cols_; ++i)
        values_.push_back(static_cast<float>(matrix.codes.row(r)[i]) * matrix.scale[i]);
    }
  }
  MatrixView<const float> view() const { return {values_.data(), rows_, cols_}; }

 private:
  int64_t rows_, cols_;
  std::vector<float> values_;
};

float LoadState(const void* state, int64_t i, DType dtype, float scale) {
  if (dtype == DType::kI8) return static_cast<float>(static_cast<const int8_t*>(state)[i]) * scale;
  if (dtype == DType::kBF16) return FromBF16(static_cast<const uint16_t*>(state)[i]);
  return static_cast<const float*>(state)[i];
}

void StoreState(float h, void* state, int64_t i, DType dtype, float scale) {
  if (dtype == DType::kI8) {
    static_cast<int8_t*>(state)[i] = ToCode(h * (1 / scale));
  } else if (dtype == DType::kBF16) {
    static_cast<uint16_t*>(state)[i] = ToBF16(h);
  } else {
    static_cast<float*>(state)[i] = h;
  }
}

}  // namespace

void SelectiveScan(std::span<const QuantizedScanRun> runs, const QuantizedScanOperands& o) {
  const Dequantized x(o.x), delta(o.delta), b(o.b), c(o.c), z(o.z);
  const int64_t channels = o.y.cols;
  std::vector<float> h(o.b.codes.cols * channels);
  const auto scale = [&](size_t i) { return o.state_scale ? o.state_scale[i / channels] : 1.0f; };
  const auto load = [&](const QuantizedScanRun& run) {
    for (size_t i = 0; i < h.size(); ++i) h[i] = LoadState(run.state, i, o.state_dtype, scale(i));
  };
  const auto store = [&](const QuantizedScanRun& run) {
    for (size_t i = 0; i < h.size(); ++i) StoreState(h[i], run.state, i, o.state_dtype, scale(i));
  };
  for (const QuantizedScanRun& run : runs) {
    for (int64_t t = run.begin; t < run.begin + run.length; ++t) {
      load(run);
      const ScanRun token{t, 1, h.data()};
      SelectiveScan({&token, 1}, {.x = x.view(),
                                  .delta = delta.view(),
                                  .delta_bias = o.delta_bias,
                                  .a = o.a,
                                  .b = b.view(),
                                  .c = c.view(),
                                  .d = o.d,
                                  .z = z.view(),
                                  .y = o.y});
      store(run);
    }
  }
}

}  // namespace whipsnake::kernels::reference
