#include "kernels/activation/activation.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kTolerance = 4e-7f;  // relative, as the contract says
constexpr float kMayFlush = 1e-36f;
constexpr double kSubnormal = 0x1p-149;  // the spacing of the smallest numbers

using Function = void (*)(const float*, int64_t, float*);

double ExactSilu(double x) { return x / (1 + std::exp(-x)); }
double ExactSoftplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

void ExpectAccurate(Function function, double (*exact)(double), const std::vector<float>& x) {
  std::vector<float> y(x.size());
  function(x.data(), x.size(), y.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = exact(x[i]);
    if (y[i] == 0 && std::abs(want) < kMayFlush) continue;
    ASSERT_NEAR(y[i], want, kTolerance * std::abs(want) + kSubnormal) << "at " << x[i];
  }
}

// Every exponent, both signs, many mantissas; and densely where the results are not trivial.
std::vector<float> ManyFloats() {
  Random random(1);
  std::vector<float> x = {0.0f, -0.0f};
  for (int exponent = -126; exponent <= 127; ++exponent) {
    for (int i = 0; i < 100; ++i) {
      const float magnitude = std::ldexp(random.Uniform(1, 2), exponent);
      x.push_back(magnitude);
      x.push_back(-magnitude);
    }
  }
  for (float v = -110; v < 110; v += 0.0007f) x.push_back(v);
  return x;
}

TEST(Activation, IsAccurateOverAllFiniteInputs) {
  ExpectAccurate(Silu, ExactSilu, ManyFloats());
  ExpectAccurate(Softplus, ExactSoftplus, ManyFloats());
  ExpectAccurate(reference::Silu, ExactSilu, ManyFloats());
  ExpectAccurate(reference::Softplus, ExactSoftplus, ManyFloats());
}

TEST(Activation, SoftplusIsTheIdentityAboveTwenty) {
  for (float x : {std::nextafter(20.0f, 21.0f), 20.5f, 88.0f, 89.0f, 1e10f}) {
    float y = 0;
    Softplus(&x, 1, &y);
    EXPECT_EQ(y, x);
  }
}

TEST(Activation, InfinitiesGiveLimitsAndNaNStays) {
  // In every lane of a vector and in the part of one after it.
  for (int64_t at = 0; at < 37; ++at) {
    for (const auto& [silu, softplus] :
         {std::pair<Function, Function>{Silu, Softplus}, {reference::Silu, reference::Softplus}}) {
      std::vector<float> x(37, 1.0f), y(37);
      x[at] = kInfinity;
      silu(x.data(), 37, y.data());
      EXPECT_EQ(y[at], kInfinity);
      softplus(x.data(), 37, y.data());
      EXPECT_EQ(y[at], kInfinity);
      x[at] = -kInfinity;
      silu(x.data(), 37, y.data());
      EXPECT_EQ(y[at], 0.0f);
      softplus(x.data(), 37, y.data());
      EXPECT_EQ(y[at], 0.0f);
      x[at] = std::numeric_limits<float>::quiet_NaN();
      silu(x.data(), 37, y.data());
      EXPECT_TRUE(std::isnan(y[at]));
      softplus(x.data(), 37, y.data());
      EXPECT_TRUE(std::isnan(y[at]));
      for (int64_t i = 0; i < 37; ++i) EXPECT_TRUE(i == at || !std::isnan(y[i])) << i;
    }
  }
}

TEST(Activation, DoesNotDependOnPositionLengthOrAliasing) {
  Random random(2);
  for (const Function function : {Silu, Softplus}) {
    for (const int64_t n : {0, 1, 3, 15, 16, 17, 33, 70000}) {
      const std::vector<float> x = random.Vector(n, -30, 30);
      std::vector<float> y(n + 1, -7.0f), single(n + 1, -7.0f), in_place = x;
      function(x.data(), n, y.data());
      for (int64_t i = 0; i < n; ++i) function(&x[i], 1, &single[i]);
      function(in_place.data(), n, in_place.data());
      EXPECT_TRUE(Identical(y, single)) << n;  // and nothing is written after the end
      in_place.push_back(-7.0f);
      EXPECT_TRUE(Identical(y, in_place)) << n;
    }
  }
}

}  // namespace
}  // namespace whipsnake::kernels
