#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

#include "kernels/optimizer/moment_code.h"
#include "kernels/optimizer/optimizer.h"

namespace whipsnake::kernels::reference {
namespace {

// As an integer, the magnitude of NaN is above that of any number.
float Scale(std::span<const float> x) {
  uint32_t largest = std::bit_cast<uint32_t>(kMinMomentScale);
  for (const float value : x) largest = std::max(largest, std::bit_cast<uint32_t>(std::abs(value)));
  return std::bit_cast<float>(largest);
}

// Returns the index of the value nearest to x. `values` ascend.
uint8_t Nearest(double x, std::span<const float> values) {
  const auto above = std::lower_bound(values.begin(), values.end() - 1, x);
  const bool below_is_nearer =
      above != values.begin() && x - double{*(above - 1)} <= double{*above} - x;
  return static_cast<uint8_t>(above - values.begin() - (below_is_nearer ? 1 : 0));
}

uint8_t EncodeSigned(float x, double scale) {
  const auto positive = std::span(moment_code::kSignedValues).first(moment_code::kSign);
  const uint8_t magnitude = Nearest(std::abs(x) / scale, positive);
  return std::signbit(x) ? magnitude | moment_code::kSign : magnitude;
}

uint8_t EncodeUnsigned(float x, double scale) {
  const uint8_t code = Nearest(x / scale, moment_code::kUnsignedValues);
  return x > 0 ? std::max<uint8_t>(code, 1) : code;
}

void UpdateBlock(const AdamW& adamw, const float* g, int64_t n, float* w, const Moments8& block) {
  float m[kMomentBlock], v[kMomentBlock];
  for (int64_t i = 0; i < n; ++i) {
    m[i] = moment_code::kSignedValues[block.m[i]] * *block.m_scale;
    v[i] = moment_code::kUnsignedValues[block.v[i]] * *block.v_scale;
  }
  Update(adamw, g, n, w, m, v);
  *block.m_scale = Scale(std::span(m, n));
  *block.v_scale = Scale(std::span(v, n));
  for (int64_t i = 0; i < n; ++i) {
    block.m[i] = EncodeSigned(m[i], *block.m_scale);
    block.v[i] = EncodeUnsigned(v[i], *block.v_scale);
  }
}

}  // namespace

void Update(const AdamW& adamw, const float* g, int64_t n, float* w, float* m, float* v) {
  const double step = static_cast<double>(adamw.step);
  const double rate = adamw.learning_rate / (1 - std::pow(adamw.beta1, step));
  const double correction = std::sqrt(1 - std::pow(adamw.beta2, step));
  for (int64_t i = 0; i < n; ++i) {
    const double gradient = adamw.gradient_scale * g[i];
    const double decayed = w[i] - adamw.learning_rate * adamw.weight_decay * w[i];
    const double mean = adamw.beta1 * m[i] + (1 - adamw.beta1) * gradient;
    const double square = adamw.beta2 * v[i] + (1 - adamw.beta2) * gradient * gradient;
    const double denominator = std::sqrt(square) / correction + adamw.epsilon;
    w[i] = static_cast<float>(decayed - rate * mean / denominator);
    m[i] = static_cast<float>(mean);
    v[i] = static_cast<float>(square);
  }
}

void Update(const Sgd& sgd, const float* g, int64_t n, float* w, float* m) {
  for (int64_t i = 0; i < n; ++i) {
    double direction = sgd.gradient_scale * g[i] + sgd.weight_decay * w[i];
    if (m != nullptr && sgd.step > 1) direction += sgd.momentum * m[i];
    if (m != nullptr) m[i] = static_cast<float>(direction);
    w[i] = static_cast<float>(w[i] - sgd.learning_rate * direction);
  }
}

void Update(const AdamW& adamw, const float* g, int64_t n, float* w, const Moments8& moments) {
  for (int64_t begin = 0; begin < n; begin += kMomentBlock) {
    const int64_t block = begin / kMomentBlock;
    UpdateBlock(
        adamw, g + begin, std::min(kMomentBlock, n - begin), w + begin,
        {moments.m + begin, moments.v + begin, moments.m_scale + block, moments.v_scale + block});
  }
}

UpdateMeasure Measure(const float* before, const float* after, const float* g,
                      double gradient_scale, int64_t n) {
  UpdateMeasure sum;
  for (int64_t i = 0; i < n; ++i) {
    const double value = before[i], change = after[i] - value;
    const double magnitude = std::abs(value), gradient = gradient_scale * g[i];
    const double guard = std::max<double>(magnitude, UpdateMeasure::kMinMagnitude);
    sum += {.relative_change = std::abs(change) / magnitude,
            .guarded_change = value != 0 ? std::abs(change) / guard : 0,
            .change_squares = change * change,
            .value_squares = value * value,
            .gradient_squares = gradient * gradient};
  }
  return sum;
}

double SumOfSquares(const float* x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{x[i]} * x[i];
  return sum;
}

}  // namespace whipsnake::kernels::reference
