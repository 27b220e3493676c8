#include <algorithm>
#include <cmath>

#include "kernels/activation/activation.h"

namespace whipsnake::kernels::reference {
namespace {

constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
constexpr double kInverseSqrtTwoPi = 0.39894228040143267794;
constexpr double kCubic = 0.044715;
constexpr double kQuick = 1.702;

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double Normal(double x) { return std::erfc(-x * kSqrtHalf) / 2; }
double Inner(double x) { return 2 * kSqrtTwoOverPi * (x + kCubic * x * x * x); }
double SoftplusOf(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }

// x · gate, and -0 at x = -infinity, where the product would be infinity · 0.
double Gated(double x, double gate) { return x == -INFINITY ? -0.0 : x * gate; }

// d/dx (x σ(v(x))). The second term is 0 where it would be infinity · 0.
double GatedSlope(double x, double v, double v_slope) {
  const double s = Sigmoid(v), term = s * (1 - s);
  return term == 0 ? s : s + x * term * v_slope;
}

double MishSlope(double x) {
  if (x > 40) return 1;
  if (x < -700) return 0;
  const double t = std::tanh(SoftplusOf(x));
  return t + x * Sigmoid(x) * (1 - t * t);
}

}  // namespace

double Correction(double x) { return std::isinf(x) ? 0 : x * std::exp(-x * x / 2); }

double Value(ActivationFunction f, double x) {
  switch (f.kind) {
    case Activation::kIdentity:
      return x;
    case Activation::kRelu:
      return x < 0 ? 0 : x;
    case Activation::kLeakyRelu:
      return x > 0 ? x : 0.01 * x;
    case Activation::kGelu:
      return Gated(x, Normal(x));
    case Activation::kGeluNew:
      return Gated(x, Sigmoid(Inner(x)));
    case Activation::kQuickGelu:
      return Gated(x, Sigmoid(kQuick * x));
    case Activation::kSilu:
      return Gated(x, Sigmoid(x));
    case Activation::kMish:
      return Gated(x, std::tanh(SoftplusOf(x)));
    case Activation::kCRRelu:
      return (x < 0 ? 0 : x) + f.epsilon * Correction(x);
  }
  return x;
}

double Slope(ActivationFunction f, double x) {
  if (std::isnan(x)) return x;
  switch (f.kind) {
    case Activation::kIdentity:
      return 1;
    case Activation::kRelu:
      return x > 0 ? 1 : 0;
    case Activation::kLeakyRelu:
      return x > 0 ? 1 : 0.01;
    case Activation::kGelu:
      return Normal(x) + kInverseSqrtTwoPi * Correction(x);
    case Activation::kGeluNew:
      return GatedSlope(x, Inner(x), 2 * kSqrtTwoOverPi * (1 + 3 * kCubic * x * x));
    case Activation::kQuickGelu:
      return GatedSlope(x, kQuick * x, kQuick);
    case Activation::kSilu:
      return GatedSlope(x, x, 1);
    case Activation::kMish:
      return MishSlope(x);
    case Activation::kCRRelu: {
      const double correction = std::isinf(x) ? 0 : (1 - x * x) * std::exp(-x * x / 2);
      return (x > 0 ? 1 : 0) + f.epsilon * correction;
    }
  }
  return 1;
}

void Activate(ActivationFunction f, const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(Value(f, x[i]));
}

void Softplus(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(SoftplusOf(x[i]));
}

double ActivateBackward(ActivationFunction f, const float* x, const float* g, int64_t n,
                        float* gx) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double slope = Slope(f, x[i]);
    sum += g[i] * Correction(x[i]);
    gx[i] = static_cast<float>(g[i] * slope);
  }
  return f.kind == Activation::kCRRelu ? sum : 0;
}

}  // namespace whipsnake::kernels::reference
