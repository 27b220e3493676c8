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

namespace {

// The sums over channels or rows.
struct ScanSums {
  ScanSums(int64_t rows, int64_t channels, int64_t states)
      : b(rows * states),
        c(rows * states),
        delta_bias(channels),
        a(states * channels),
        d(channels) {}

  std::vector<double> b, c;  // [T,N]
  std::vector<double> delta_bias, a, d;
};

double Sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

// The argument of softplus.
double StepArgument(const SelectiveScanOperands& o, int64_t row, int64_t e) {
  return double{o.delta.row(row)[e]} + (o.delta_bias != nullptr ? o.delta_bias[e] : 0.0f);
}
double StepOf(double v) { return v > 20 ? v : std::log1p(std::exp(v)); }
double StepSlope(double v) { return v > 20 ? 1 : Sigmoid(v); }

// Returns h[length + 1, N] of channel e: the states before every token and after the last.
std::vector<double> ChannelStates(RowRange sequence, const SelectiveScanOperands& o, int64_t e) {
  const int64_t states = o.b.cols;
  std::vector<double> h((sequence.length + 1) * states);
  for (int64_t t = 0; t < sequence.length; ++t) {
    const int64_t row = sequence.begin + t;
    const double step = StepOf(StepArgument(o, row, e));
    for (int64_t n = 0; n < states; ++n) {
      h[(t + 1) * states + n] = std::exp(step * o.a[n * o.x.cols + e]) * h[t * states + n] +
                                step * o.x.row(row)[e] * o.b.row(row)[n];
    }
  }
  return h;
}

void BackwardChannel(RowRange sequence, const SelectiveScanOperands& o, MatrixView<const float> g,
                     int64_t e, const SelectiveScanGradients& gradients, ScanSums& sums) {
  const int64_t states = o.b.cols;
  const std::vector<double> h = ChannelStates(sequence, o, e);
  std::vector<double> carry(states);  // exp(Δ[t+1] a) u[t+1]
  for (int64_t t = sequence.length - 1; t >= 0; --t) {
    const int64_t row = sequence.begin + t;
    const double x = o.x.row(row)[e], z = o.z.row(row)[e], v = StepArgument(o, row, e);
    const double step = StepOf(v), gate = Sigmoid(z), q = g.row(row)[e] * z * gate;
    double p = o.d[e] * x, ub = 0, gstep = 0;
    for (int64_t n = 0; n < states; ++n) {
      const double before = h[t * states + n], after = h[(t + 1) * states + n];
      const double a = o.a[n * o.x.cols + e], b = o.b.row(row)[n], c = o.c.row(row)[n];
      const double u = q * c + carry[n];
      carry[n] = std::exp(step * a) * u;
      p += after * c;
      ub += u * b;
      gstep += a * carry[n] * before + u * x * b;
      sums.a[n * o.x.cols + e] += step * carry[n] * before;
      sums.b[row * states + n] += u * step * x;
      sums.c[row * states + n] += q * after;
    }
    gradients.x.row(row)[e] = static_cast<float>(q * o.d[e] + step * ub);
    gradients.delta.row(row)[e] = static_cast<float>(gstep * StepSlope(v));
    gradients.z.row(row)[e] = static_cast<float>(g.row(row)[e] * p * gate * (1 + z * (1 - gate)));
    sums.d[e] += q * x;
    sums.delta_bias[e] += gstep * StepSlope(v);
  }
}

void AddTo(float* gradients, const std::vector<double>& sums) {
  if (gradients == nullptr) return;
  for (size_t i = 0; i < sums.size(); ++i) {
    gradients[i] = static_cast<float>(gradients[i] + sums[i]);
  }
}

}  // namespace

void SelectiveScanBackward(std::span<const RowRange> sequences, const SelectiveScanOperands& o,
                           MatrixView<const float> g, const SelectiveScanGradients& gradients) {
  const int64_t states = o.b.cols;
  ScanSums sums(o.x.rows, o.x.cols, states);
  for (const RowRange& sequence : sequences) {
    for (int64_t e = 0; e < o.x.cols; ++e) BackwardChannel(sequence, o, g, e, gradients, sums);
    for (int64_t row = sequence.begin; row < sequence.begin + sequence.length; ++row) {
      for (int64_t n = 0; n < states; ++n) {
        gradients.b.row(row)[n] = static_cast<float>(sums.b[row * states + n]);
        gradients.c.row(row)[n] = static_cast<float>(sums.c[row * states + n]);
      }
    }
  }
  AddTo(gradients.delta_bias, sums.delta_bias);
  AddTo(gradients.a, sums.a);
  AddTo(gradients.d, sums.d);
}

}  // namespace whipsnake::kernels::reference
