#include "kernels/activation/activation.h"

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/dtype.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr double kMayFlush = 1e-36;
constexpr double kSubnormal = 0x1p-149;  // the spacing of fp32 subnormals

constexpr std::pair<const char*, ActivationFunction> kFunctions[] = {
    {"identity", {Activation::kIdentity}},
    {"relu", {Activation::kRelu}},
    {"leaky_relu", {Activation::kLeakyRelu}},
    {"gelu", {Activation::kGelu}},
    {"gelu_new", {Activation::kGeluNew}},
    {"quick_gelu", {Activation::kQuickGelu}},
    {"silu", {Activation::kSilu}},
    {"mish", {Activation::kMish}},
    {"crrelu", {Activation::kCRRelu, 0.01f}},
    {"crrelu_negative", {Activation::kCRRelu, -1.25f}},
};

// The largest error that the contract in activation.h allows.
double Tolerance(ActivationFunction f, double x, double want) {
  if (f.kind == Activation::kSilu) return 4e-7 * std::abs(want) + kSubnormal;
  if (f.kind == Activation::kCRRelu) {
    return 2 * 0x1p-23 * std::abs(want) + 0.61 * std::abs(f.epsilon) * 4e-7 + kSubnormal;
  }
  return 4e-7 * std::max(1.0, std::abs(x));
}

// Covers every exponent, both signs and many mantissas, and samples [-110, 110) densely, where the
// results are not trivial.
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

std::vector<float> Applied(ActivationFunction f, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  Activate(TestContext(), f, x.data(), x.size(), y.data());
  return y;
}

class ActivationTest : public ::testing::TestWithParam<std::pair<const char*, ActivationFunction>> {
 protected:
  ActivationFunction f() const { return GetParam().second; }
};

TEST_P(ActivationTest, IsAccurateOverAllFiniteInputs) {
  const std::vector<float> x = ManyFloats(), y = Applied(f(), x);
  std::vector<float> plain(x.size());
  reference::Activate(f(), x.data(), x.size(), plain.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = reference::Value(f(), x[i]);
    ASSERT_NEAR(plain[i], want, 0x1p-24 * std::abs(want) + kSubnormal) << "at " << x[i];
    if (y[i] == 0 && std::abs(want) < kMayFlush) continue;
    ASSERT_NEAR(y[i], want, Tolerance(f(), x[i], want)) << "at " << x[i];
  }
}

TEST_P(ActivationTest, InfinitiesGiveLimitsAndNaNStays) {
  const float low =
      f().kind == Activation::kIdentity || f().kind == Activation::kLeakyRelu ? -kInfinity : 0.0f;
  // Tries every lane of a full vector and of the partial vector after it.
  for (int64_t at = 0; at < 37; ++at) {
    std::vector<float> x(37, 1.0f);
    x[at] = kInfinity;
    EXPECT_EQ(Applied(f(), x)[at], kInfinity);
    x[at] = -kInfinity;
    EXPECT_EQ(Applied(f(), x)[at], low);
    x[at] = kNaN;
    const std::vector<float> y = Applied(f(), x);
    for (int64_t i = 0; i < 37; ++i) EXPECT_EQ(std::isnan(y[i]), i == at) << i;
  }
  EXPECT_EQ(static_cast<float>(reference::Value(f(), -kInfinity)), low);
}

TEST_P(ActivationTest, DoesNotDependOnPositionLengthAliasingOrThreads) {
  Random random(2);
  for (const int64_t n : {0, 1, 3, 15, 16, 17, 33, 70000}) {
    const std::vector<float> x = random.Vector(n, -30, 30);
    std::vector<float> y(n + 1, -7.0f), single(n + 1, -7.0f), in_place = x;
    Activate(TestContext(), f(), x.data(), n, y.data());
    for (int64_t i = 0; i < n; ++i) Activate(TestContext(), f(), &x[i], 1, &single[i]);
    Activate(TestContext(), f(), in_place.data(), n, in_place.data());
    EXPECT_TRUE(Identical(y, single)) << n;  // also: nothing is written past the end
    in_place.push_back(-7.0f);
    EXPECT_TRUE(Identical(y, in_place)) << n;
  }
}

TEST_P(ActivationTest, OfBF16IsRoundedOnce) {
  std::vector<uint16_t> x(1 << 16), y(1 << 16);
  for (int i = 0; i < 1 << 16; ++i) x[i] = static_cast<uint16_t>(i);
  Activate(TestContext(), f(), x.data(), std::ssize(x), y.data());
  for (int i = 0; i < 1 << 16; ++i) {
    const float value = FromBF16(x[i]);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(FromBF16(y[i])));
      continue;
    }
    const double want = reference::Value(f(), value);
    if (std::abs(want) < kMayFlush || std::isinf(want)) continue;
    // The neighbouring bf16 value is allowed if the fp32 error moves the result across a midpoint.
    const double slack = Tolerance(f(), value, want);
    const float low = FromBF16(ToBF16(static_cast<float>(want - slack)));
    const float high = FromBF16(ToBF16(static_cast<float>(want + slack)));
    ASSERT_GE(FromBF16(y[i]), low) << value;
    ASSERT_LE(FromBF16(y[i]), high) << value;
  }
}

// Compares the slope with a central difference in fp64. Skips the neighbourhood of 0, where some
// functions have no derivative.
TEST_P(ActivationTest, ReferenceSlopeIsThatOfTheValue) {
  constexpr double kStep = 1e-5;
  for (double x = -6; x < 6; x += 0.0137) {
    if (std::abs(x) < 0.01) continue;
    const double difference =
        (reference::Value(f(), x + kStep) - reference::Value(f(), x - kStep)) / (2 * kStep);
    ASSERT_NEAR(reference::Slope(f(), x), difference, 1e-7 * std::max(1.0, std::abs(difference)))
        << x;
  }
}

TEST_P(ActivationTest, BackwardAgreesWithTheReference) {
  Random random(3);
  std::vector<float> x = ManyFloats();
  const std::vector<float> g = random.Vector(x.size(), -2, 2);
  std::vector<float> gx(x.size());
  ActivateBackward(TestContext(), f(), x.data(), g.data(), x.size(), gx.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = g[i] * reference::Slope(f(), x[i]);
    ASSERT_NEAR(gx[i], want, 2e-6 * std::max(1.0, std::abs(want))) << x[i];
  }
  // The output may overwrite either input.
  std::vector<float> over_x = x, over_g = g;
  ActivateBackward(TestContext(), f(), over_x.data(), g.data(), x.size(), over_x.data());
  ActivateBackward(TestContext(), f(), x.data(), over_g.data(), x.size(), over_g.data());
  EXPECT_TRUE(Identical(gx, over_x));
  EXPECT_TRUE(Identical(gx, over_g));
}

TEST_P(ActivationTest, BackwardOfInfinitiesAndNaN) {
  const float x[] = {kInfinity, -kInfinity, kNaN}, g[] = {1, 1, 1};
  float gx[3];
  ActivateBackward(TestContext(), f(), x, g, 3, gx);
  EXPECT_EQ(gx[0], 1);
  EXPECT_NEAR(gx[1], reference::Slope(f(), -kInfinity), 1e-9);
  EXPECT_TRUE(std::isnan(gx[2]));
}

INSTANTIATE_TEST_SUITE_P(Functions, ActivationTest, ::testing::ValuesIn(kFunctions),
                         [](const auto& test) { return std::string(test.param.first); });

TEST(Softplus, IsAccurate) {
  const std::vector<float> x = ManyFloats();
  std::vector<float> y(x.size()), plain(x.size());
  Softplus(TestContext(), x.data(), x.size(), y.data());
  reference::Softplus(x.data(), x.size(), plain.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = std::max<double>(x[i], 0) + std::log1p(std::exp(-std::abs(double{x[i]})));
    ASSERT_NEAR(plain[i], want, 4e-7 * want + kSubnormal) << "at " << x[i];
    if (y[i] == 0 && want < kMayFlush) continue;
    ASSERT_NEAR(y[i], want, 4e-7 * want + kSubnormal) << "at " << x[i];
  }
}

TEST(Softplus, IsTheIdentityAboveTwenty) {
  for (float x : {std::nextafter(20.0f, 21.0f), 20.5f, 88.0f, 89.0f, 1e10f, kInfinity}) {
    float y = 0;
    Softplus(TestContext(), &x, 1, &y);
    EXPECT_EQ(y, x);
  }
}

// Checks of the function published in arXiv 2405.12954.

struct Golden {
  float epsilon, x, value, slope;
};
constexpr Golden kGoldens[] = {
    {.01f, -3, -3.33269896e-4f, -8.88719723e-4f}, {.01f, -1, -.0060653066f, 0},
    {.01f, -.5f, -.00441248451f, .00661872677f},  {.01f, 0, 0, .01f},
    {.01f, .5f, .504412485f, 1.00661873f},        {.01f, 1, 1.00606531f, 1},
    {.01f, 2, 2.00270671f, .995939942f},          {-.4f, -1, .242612264f, 0},
    {-.4f, .1f, .0601995008f, .605975058f},
};

TEST(CRRelu, HasThePublishedValuesAndSlopes) {
  for (const Golden& golden : kGoldens) {
    const ActivationFunction f{Activation::kCRRelu, golden.epsilon};
    float y, gx;
    const float one = 1;
    Activate(TestContext(), f, &golden.x, 1, &y);
    const double g_epsilon = ActivateBackward(TestContext(), f, &golden.x, &one, 1, &gx);
    EXPECT_NEAR(y, golden.value, 1.2e-7 * std::max(1.0f, golden.value)) << golden.x;
    EXPECT_NEAR(gx, golden.slope, 2.4e-7) << golden.x;
    EXPECT_NEAR(g_epsilon, golden.x * std::exp(-double{golden.x} * golden.x / 2), 1e-7);
  }
}

TEST(CRRelu, EpsilonsGradientIsThatOfTheValue) {
  for (const double x : {-4.0, -1.0, -0.3, 0.0, 0.7, 2.5}) {
    const auto value = [&](float epsilon) {
      return reference::Value({Activation::kCRRelu, epsilon}, x);
    };
    // Both epsilons are exact in fp32, and the value is linear in ε.
    EXPECT_NEAR(reference::Correction(x), (value(0.75f) - value(0.25f)) * 2, 1e-7);
  }
}

TEST(CRRelu, EpsilonsGradientIsAccurateOverMany) {
  constexpr int64_t kMany = 10'000'000;
  Random random(5);
  const std::vector<float> x = random.Vector(kMany, -4, 4), g = random.Vector(kMany, -1, 3);
  std::vector<float> gx(kMany);
  double want = 0, all = 0;
  for (int64_t i = 0; i < kMany; ++i) {
    const double term = g[i] * reference::Correction(x[i]);
    want += term;
    all += std::abs(term);
  }
  const ActivationFunction f{Activation::kCRRelu, 0.3f};
  const double alone = ActivateBackward(TestContext(), f, x.data(), g.data(), kMany, gx.data());
  EXPECT_NEAR(alone, want, 1e-6 * all);
  const CpuContext three(3);
  EXPECT_EQ(ActivateBackward(three.context(), f, x.data(), g.data(), kMany, gx.data()), alone);
}

TEST(CRRelu, WithoutEpsilonIsReluBitForBit) {
  std::vector<float> x = ManyFloats();
  x.insert(x.end(), {kInfinity, -kInfinity});
  EXPECT_TRUE(Identical(Applied({Activation::kCRRelu, 0.0f}, x), Applied({Activation::kRelu}, x)));
}

// For any finite ε: no product with ε may overflow before exp(-x²/2) makes it small.
TEST(CRRelu, IsAccurateForTheLargestEpsilons) {
  const std::vector<float> x = ManyFloats();
  const std::vector<float> g(x.size(), 1.0f);
  std::vector<float> gx(x.size());
  for (const float magnitude : {1e30f, 3e37f, 1e38f, std::numeric_limits<float>::max()}) {
    for (const float epsilon : {magnitude, -magnitude}) {
      const ActivationFunction f{Activation::kCRRelu, epsilon};
      const std::vector<float> y = Applied(f, x);
      ActivateBackward(TestContext(), f, x.data(), g.data(), x.size(), gx.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const double want = reference::Value(f, x[i]);
        ASSERT_NEAR(y[i], want, Tolerance(f, x[i], want)) << epsilon << " at " << x[i];
        const double slope = reference::Slope(f, x[i]);
        ASSERT_NEAR(gx[i], slope, 2e-6 * std::max(magnitude, 1.0f)) << epsilon << " at " << x[i];
      }
      for (const float infinite : {kInfinity, -kInfinity}) {
        EXPECT_EQ(Applied(f, {infinite})[0], std::max(infinite, 0.0f)) << epsilon;
      }
      uint16_t half = ToBF16(-20.0f);
      Activate(TestContext(), f, &half, 1, &half);
      EXPECT_EQ(FromBF16(half), 0) << epsilon;
    }
  }
}

TEST(CRRelu, SumsWithItsMirrorToTheMagnitude) {
  for (const float epsilon : {0.01f, -0.5f, 2.0f}) {
    for (float x = 0; x < 6; x += 0.01f) {
      const std::vector<float> y = Applied({Activation::kCRRelu, epsilon}, {x, -x});
      EXPECT_NEAR(y[0] + y[1], x, 2.4e-7 * std::max(1.0f, x)) << x;
    }
  }
}

TEST(CRRelu, DipsOrRisesBelowZeroBySign) {
  for (const float epsilon : {0.7f, -0.7f}) {
    float smallest = 0, largest = 0;
    for (float x = -16; x < 0; x += 0.001f) {
      const float y = Applied({Activation::kCRRelu, epsilon}, {x})[0];
      smallest = std::min(smallest, y);
      largest = std::max(largest, y);
    }
    EXPECT_NEAR(epsilon > 0 ? smallest : largest, -0.60653066f * epsilon, 1e-6);
    EXPECT_EQ(epsilon > 0 ? largest : smallest, 0);
  }
}

TEST(CodeTable, IsTheFunctionOfEveryCode) {
  for (const auto& [name, f] : kFunctions) {
    const float from = 0.05f, to = 0.031f;
    int8_t table[kCodes];
    MakeCodeTable(f, from, to, table);
    std::vector<int8_t> codes(kCodes), mapped(kCodes);
    for (int code = 0; code < kCodes; ++code) codes[code] = static_cast<int8_t>(code - 128);
    ApplyCodeTable(TestContext(), table, codes.data(), kCodes, mapped.data());
    for (int code = -128; code < 128; ++code) {
      const float x = static_cast<float>(code) * from;
      const double exact = reference::Value(f, x) / to;
      ASSERT_NEAR(mapped[code + 128], std::clamp(exact, -128.0, 127.0), 0.5 + 1e-4)
          << name << " " << code;
    }
    ApplyCodeTable(TestContext(), table, codes.data(), kCodes, codes.data());
    EXPECT_TRUE(Identical(codes, mapped)) << "in place";
  }
}

// Below zero ReLU is 0, so the output is the correction alone. It vanishes there if it is less than
// half a step of the output's codes, whatever the two scales do to positive inputs.
TEST(CodeTable, EpsilonVanishesWhereTheCorrectionIsLessThanHalfAStep) {
  constexpr float kPeak = 0.60653066f;
  Random random(7);
  for (int i = 0; i < 1000; ++i) {
    const float from = std::exp(random.Uniform(-6, -3)), to = from * random.Uniform(0.3f, 3);
    const float share = random.Uniform(0.05f, 0.999f);
    for (const float sign : {1.0f, -1.0f}) {
      EXPECT_TRUE(EpsilonVanishes(sign * share * to / 2 / kPeak, from, to))
          << from << " to " << to << ", " << share << " of half a step";
    }
  }
}

TEST(CodeTable, EpsilonVanishesBelowTheScalesShare) {
  const float s = 8.0f / 127;
  EXPECT_TRUE(EpsilonVanishes(.0519f, s, s));
  EXPECT_TRUE(EpsilonVanishes(-.0519f, s, s));
  EXPECT_FALSE(EpsilonVanishes(.052f, s, s));
  EXPECT_FALSE(EpsilonVanishes(-.052f, s, s));
  EXPECT_FALSE(EpsilonVanishes(.0519f, s, s / 4)) << "a finer output keeps it";
}

}  // namespace
}  // namespace whipsnake::kernels
