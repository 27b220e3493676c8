#include "kernels/activation/activation_cells.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/compression/compression.h"
#include "kernels/cpu/cpu_context.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kSmallest = std::numeric_limits<float>::denorm_min();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr int64_t kSizes[] = {0, 1, 2, 7, 16, 31, 48, 63, 768, 1000, 70001};
constexpr ActivationCells kBoth[] = {kCenteredCells, kAlignedCells};

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

// With a guard byte after the end.
std::vector<uint8_t> Encoded(const Context& context, const ActivationCells& cells,
                             const std::vector<float>& x) {
  std::vector<uint8_t> codes(ActivationCellBytes(std::ssize(x)) + 1, 0xA5);
  EncodeCells(context, cells, x.data(), std::ssize(x), codes.data());
  return codes;
}

// The codes as numbers from -8 to 7.
std::vector<int> CodesOf(const ActivationCells& cells, const std::vector<float>& x) {
  const std::vector<uint8_t> bytes = Encoded(TestContext(), cells, x);
  std::vector<int> codes(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const int cell = (bytes[i / 2] >> (i % 2 * 4)) & 15;
    codes[i] = cell < 8 ? cell : cell - 16;
  }
  return codes;
}

std::vector<float> Slopes(ActivationFunction f, const ActivationCells& cells,
                          const std::vector<float>& x) {
  const ActivationCellTable table = MakeActivationCellTable(f, cells);
  const std::vector<uint8_t> codes = Encoded(TestContext(), cells, x);
  const std::vector<float> ones(x.size(), 1.0f);
  std::vector<float> slopes(x.size());
  ActivateBackwardFromCells(TestContext(), table, codes.data(), ones.data(), std::ssize(x),
                            slopes.data());
  return slopes;
}

// Dense in [-5,5), with both signs of every exponent, and numbers at the bounds of all cells.
std::vector<float> ManyArguments() {
  std::vector<float> x = {0.0f,     -0.0f,     kSmallest, -kSmallest,
                          kLargest, -kLargest, kInfinity, -kInfinity};
  for (int exponent = -149; exponent < 128; ++exponent) {
    x.push_back(std::ldexp(1.0f, exponent));
    x.push_back(-std::ldexp(1.0f, exponent));
  }
  for (int q = -40; q <= 40; ++q) {
    for (const float width : {kAlignedCells.width, kCenteredCells.width / 2}) {
      const float bound = static_cast<float>(q) * width;
      x.insert(x.end(),
               {bound, std::nextafter(bound, -kInfinity), std::nextafter(bound, kInfinity)});
    }
  }
  for (float v = -5; v < 5; v += 0.0007f) x.push_back(v);
  return x;
}

TEST(CenteredCellsTest, RoundHalfToEvenAndClamp) {
  for (int q = -8; q <= 7; ++q) {
    const float center = static_cast<float>(q) * 0.5f, tie = center + 0.25f;
    EXPECT_EQ(CodesOf(kCenteredCells, {center})[0], q);
    if (q == 7) continue;
    EXPECT_EQ(CodesOf(kCenteredCells, {tie})[0], q % 2 == 0 ? q : q + 1);
    EXPECT_EQ(CodesOf(kCenteredCells, {std::nextafter(tie, -kInfinity)})[0], q);
    EXPECT_EQ(CodesOf(kCenteredCells, {std::nextafter(tie, kInfinity)})[0], q + 1);
  }
  EXPECT_EQ(CodesOf(kCenteredCells, {3.75f, 4, 1e30f, kLargest, kInfinity}),
            std::vector<int>(5, 7));
  EXPECT_EQ(CodesOf(kCenteredCells, {-4.25f, -4.3f, -1e30f, -kLargest, -kInfinity}),
            std::vector<int>(5, -8));
}

TEST(CenteredCellsTest, AreThePublishedFixedPoint) {
  std::vector<float> x = ManyArguments();
  x.push_back(kNaN);
  const int64_t n = std::ssize(x);
  std::vector<uint8_t> want(EncodedBytes(kInt4, 1, n) + 1, 0xA5);
  Encode(TestContext(), kInt4, {x.data(), 1, n}, want.data());
  EXPECT_TRUE(Identical(Encoded(TestContext(), kCenteredCells, x), want));
}

TEST(AlignedCellsTest, EndAtMultiplesOfTheWidth) {
  for (int q = -8; q <= 7; ++q) {
    const float begin = static_cast<float>(q) * 0.375f, end = begin + 0.375f;
    EXPECT_EQ(CodesOf(kAlignedCells, {(begin + end) / 2, end}), std::vector<int>(2, q));
    EXPECT_EQ(CodesOf(kAlignedCells, {begin})[0], std::max(q - 1, -8));
    EXPECT_EQ(CodesOf(kAlignedCells, {std::nextafter(begin, kInfinity)})[0], q);
  }
  EXPECT_EQ(CodesOf(kAlignedCells, {3.1f, 1e30f, kLargest, kInfinity}), std::vector<int>(4, 7));
  EXPECT_EQ(CodesOf(kAlignedCells, {-3.1f, -1e30f, -kLargest, -kInfinity}),
            std::vector<int>(4, -8));
  EXPECT_EQ(CodesOf(kAlignedCells, {kSmallest, -kSmallest, 0, -0.0f}),
            (std::vector<int>{0, -1, -1, -1}));
}

TEST(AlignedCellsTest, TheSlopeOfReluIsExact) {
  const std::vector<float> x = ManyArguments(), g(x.size(), 1.0f);
  std::vector<float> exact(x.size());
  for (const Activation kind : {Activation::kRelu, Activation::kLeakyRelu}) {
    ActivateBackward(TestContext(), {kind}, x.data(), g.data(), std::ssize(x), exact.data());
    EXPECT_TRUE(Identical(Slopes({kind}, kAlignedCells, x), exact));
  }
}

TEST(ActivationCellsTest, NaNHasCodeZero) {
  for (const ActivationCells& cells : kBoth) {
    for (const float nan : {kNaN, -kNaN}) EXPECT_EQ(CodesOf(cells, {5, nan, 5})[1], 0);
  }
}

class ActivationCellTableTest
    : public testing::TestWithParam<std::pair<const char*, ActivationFunction>> {
 protected:
  ActivationFunction f() const { return GetParam().second; }
  bool corrects() const { return f().kind == Activation::kCRRelu; }
};

TEST_P(ActivationCellTableTest, CenteredCellsHaveTheSlopesOfTheirCentres) {
  const ActivationCellTable table = MakeActivationCellTable(f(), kCenteredCells);
  for (int q = -8; q <= 7; ++q) {
    const double x = q * 0.5;
    EXPECT_EQ(table.slope[q & 15], static_cast<float>(reference::Slope(f(), x)));
    EXPECT_EQ(table.correction[q & 15],
              corrects() ? static_cast<float>(reference::Correction(x)) : 0);
  }
}

// Compares with the midpoint rule.
TEST_P(ActivationCellTableTest, AlignedCellsHaveTheMeansOfTheirArguments) {
  constexpr int kPoints = 1000;
  const ActivationCellTable table = MakeActivationCellTable(f(), kAlignedCells);
  for (int q = -8; q <= 7; ++q) {
    double slope = 0, correction = 0;
    for (int point = 0; point < kPoints; ++point) {
      const double x = (q + (point + 0.5) / kPoints) * 0.375;
      slope += reference::Slope(f(), x) / kPoints;
      correction += reference::Correction(x) / kPoints;
    }
    EXPECT_NEAR(table.slope[q & 15], slope, 2e-7) << q;
    EXPECT_NEAR(table.correction[q & 15], corrects() ? correction : 0, 1e-7) << q;
  }
}

TEST_P(ActivationCellTableTest, TheBackwardPassIsThatOfTheReference) {
  Random random(1);
  for (const ActivationCells& cells : kBoth) {
    const ActivationCellTable table = MakeActivationCellTable(f(), cells);
    for (const int64_t n : kSizes) {
      const std::vector<float> x = random.Vector(n, -5, 5), g = random.Vector(n, -2, 3);
      const std::vector<uint8_t> codes = Encoded(TestContext(), cells, x);
      std::vector<float> gx(n + 1, -7), want(n + 1, -7), in_place = g;
      const double sum =
          ActivateBackwardFromCells(TestContext(), table, codes.data(), g.data(), n, gx.data());
      const double want_sum =
          reference::ActivateBackwardFromCells(table, codes.data(), g.data(), n, want.data());
      EXPECT_TRUE(Identical(gx, want)) << n;
      double all = 0;
      for (int64_t i = 0; i < n; ++i) all += std::abs(g[i]) * 0.61;
      EXPECT_NEAR(sum, want_sum, corrects() ? 1e-6 * all : 0) << n;
      EXPECT_EQ(ActivateBackwardFromCells(TestContext(), table, codes.data(), in_place.data(), n,
                                          in_place.data()),
                sum);
      in_place.push_back(-7);
      EXPECT_TRUE(Identical(in_place, gx)) << n;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Functions, ActivationCellTableTest, testing::ValuesIn(kFunctions),
                         [](const auto& test) { return std::string(test.param.first); });

TEST(ActivationCellsTest, AreThoseOfTheReference) {
  Random random(2);
  for (const ActivationCells& cells : kBoth) {
    for (const int64_t n : kSizes) {
      std::vector<float> x = random.Vector(n, -5, 5);
      for (int64_t i = 0; i < n; i += 5) x[i] = i % 2 == 0 ? kNaN : -kInfinity;
      std::vector<uint8_t> want(ActivationCellBytes(n) + 1, 0xA5);
      reference::EncodeCells(cells, x.data(), n, want.data());
      EXPECT_TRUE(Identical(Encoded(TestContext(), cells, x), want)) << n;
    }
    const std::vector<float> x = ManyArguments();
    std::vector<uint8_t> want(ActivationCellBytes(std::ssize(x)) + 1, 0xA5);
    reference::EncodeCells(cells, x.data(), std::ssize(x), want.data());
    EXPECT_TRUE(Identical(Encoded(TestContext(), cells, x), want));
  }
}

TEST(ActivationCellsTest, TheNumberOfThreadsDoesNotMatter) {
  constexpr int64_t kMany = 100'001;
  Random random(3);
  const std::vector<float> x = random.Vector(kMany, -5, 5), g = random.Vector(kMany, -2, 3);
  for (const ActivationCells& cells : kBoth) {
    const ActivationCellTable table = MakeActivationCellTable({Activation::kCRRelu, 0.3f}, cells);
    const std::vector<uint8_t> codes = Encoded(Context(), cells, x);
    std::vector<float> alone(kMany), gx(kMany);
    const double sum =
        ActivateBackwardFromCells(Context(), table, codes.data(), g.data(), kMany, alone.data());
    for (const int threads : {1, 2, 3}) {
      const CpuContext cpu(threads);
      EXPECT_TRUE(Identical(Encoded(cpu.context(), cells, x), codes)) << threads;
      EXPECT_EQ(
          ActivateBackwardFromCells(cpu.context(), table, codes.data(), g.data(), kMany, gx.data()),
          sum);
      EXPECT_TRUE(Identical(gx, alone)) << threads;
    }
  }
}

struct SlopeError {
  double worst, rms;
};
// Of arguments with a normal distribution of mean -0.5 and deviation 1.
SlopeError ErrorOf(ActivationFunction f, const ActivationCells& cells) {
  std::vector<float> x;
  for (int i = -6500; i < 5500; ++i) x.push_back((static_cast<float>(i) + 0.5f) * 0x1p-10f);
  const std::vector<float> slopes = Slopes(f, cells, x);
  double worst = 0, squares = 0, weights = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = std::abs(slopes[i] - reference::Slope(f, x[i]));
    const double weight = std::exp(-(x[i] + 0.5) * (x[i] + 0.5) / 2);
    worst = std::max(worst, error);
    squares += weight * error * error;
    weights += weight;
  }
  return {worst, std::sqrt(squares / weights)};
}

TEST(ActivationCellsTest, TheErrorsOfGelusSlopeAreAsPublishedAndSmallerIfAligned) {
  for (const Activation kind : {Activation::kGelu, Activation::kGeluNew}) {
    const SlopeError centered = ErrorOf({kind}, kCenteredCells);
    const SlopeError aligned = ErrorOf({kind}, kAlignedCells);
    const std::string name = kind == Activation::kGelu ? "gelu" : "gelu_new";
    RecordProperty(name + "_centered_worst", std::to_string(centered.worst));
    RecordProperty(name + "_centered_rms", std::to_string(centered.rms));
    RecordProperty(name + "_aligned_worst", std::to_string(aligned.worst));
    RecordProperty(name + "_aligned_rms", std::to_string(aligned.rms));
    EXPECT_LE(centered.worst, 0.197);
    EXPECT_NEAR(centered.rms, 0.07, 0.005);
    EXPECT_LT(aligned.worst, centered.worst);
    EXPECT_LT(aligned.rms, centered.rms);
  }
}

}  // namespace
}  // namespace whipsnake::kernels
