#include "kernels/optimizer/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/dtype.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::Ge;

constexpr int64_t kSizes[] = {0, 1, 7, 16, 31, 255, 256, 257, 1000, 1025, 100000};
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

constexpr AdamW kAdamW = {.learning_rate = 1e-2, .weight_decay = 0.1};
constexpr Sgd kSgd = {.learning_rate = 1e-2, .momentum = 0.9, .weight_decay = 0.1};

// Expects |got - want| <= tolerance · |of|, element by element.
void ExpectNear(const std::vector<float>& got, const std::vector<float>& want,
                const std::vector<float>& of, double tolerance) {
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], tolerance * std::abs(of[i]) + 1e-44) << i;
  }
}

// A tensor with fp32 moments.
struct Tensor {
  std::vector<float> w, m, v;

  Tensor(int64_t n, Random& random) : w(random.Vector(n, -2, 2)), m(n), v(n) {}
  int64_t size() const { return std::ssize(w); }
  void Update(const Context& context, const AdamW& adamw, const std::vector<float>& g,
              uint16_t* bf16 = nullptr, UpdateMeasure* measure = nullptr) {
    kernels::Update(context, adamw, g.data(), size(), w.data(), m.data(), v.data(), bf16, measure);
  }
  void Update(const Context& context, const Sgd& sgd, const std::vector<float>& g,
              uint16_t* bf16 = nullptr, UpdateMeasure* measure = nullptr) {
    kernels::Update(context, sgd, g.data(), size(), w.data(), m.data(), bf16, measure);
  }
  void UpdateReference(const AdamW& adamw, const std::vector<float>& g) {
    reference::Update(adamw, g.data(), size(), w.data(), m.data(), v.data());
  }
  void UpdateReference(const Sgd& sgd, const std::vector<float>& g) {
    reference::Update(sgd, g.data(), size(), w.data(), m.data());
  }
  bool Identical(const Tensor& other) const {
    return kernels::Identical(w, other.w) && kernels::Identical(m, other.m) &&
           kernels::Identical(v, other.v);
  }
};

// A tensor with moments in 8 bits.
struct Tensor8 {
  std::vector<float> w;
  std::vector<uint8_t> m, v;
  std::vector<float> m_scale, v_scale;

  Tensor8(int64_t n, Random& random)
      : w(random.Vector(n, -2, 2)),
        m(n),
        v(n),
        m_scale(MomentBlocks(n)),
        v_scale(MomentBlocks(n)) {}
  int64_t size() const { return std::ssize(w); }
  Moments8 moments() { return {m.data(), v.data(), m_scale.data(), v_scale.data()}; }
  void Update(const Context& context, const AdamW& adamw, const std::vector<float>& g,
              uint16_t* bf16 = nullptr, UpdateMeasure* measure = nullptr) {
    kernels::Update(context, adamw, g.data(), size(), w.data(), moments(), bf16, measure);
  }
  void UpdateReference(const AdamW& adamw, const std::vector<float>& g) {
    reference::Update(adamw, g.data(), size(), w.data(), moments());
  }
  float MomentM(int64_t i) const { return MomentValues(true)[m[i]] * m_scale[i / kMomentBlock]; }
  float MomentV(int64_t i) const { return MomentValues(false)[v[i]] * v_scale[i / kMomentBlock]; }
  bool Identical(const Tensor8& other) const {
    return kernels::Identical(w, other.w) && m == other.m && v == other.v &&
           kernels::Identical(m_scale, other.m_scale) && kernels::Identical(v_scale, other.v_scale);
  }
};

// Calls check(optimizer, tensor) for AdamW with both types of moments and for SGD.
template <typename Check>
void ForEachOptimizer(int64_t n, Random& random, const Check& check) {
  check(kAdamW, Tensor(n, random));
  check(kAdamW, Tensor8(n, random));
  check(kSgd, Tensor(n, random));
}

// Values that the fp32 implementation of PyTorch computes.
struct PyTorch {
  std::vector<float> w = {1, -0.5f, 2, 1e-3f, -3, 0.25f};
  std::vector<float> g = {0.1f, -2, 0, 1e-6f, 30, -1e-3f};
  std::vector<float> m = {0.05f, 0.5f, -0.01f, 0, -4, 2e-3f};
  std::vector<float> v = {0.01f, 1, 1e-4f, 0, 100, 1e-5f};
};

TEST(AdamWTest, AgreesWithPyTorch) {
  PyTorch p;
  AdamW adamw = kAdamW;
  adamw.step = 7;
  Update(TestContext(), adamw, p.g.data(), 6, p.w.data(), p.m.data(), p.v.data());
  const std::vector<float> w = {0.998119295f,   -0.499899745f, 1.99944198f,
                                -0.0039344416f, -2.99690437f,  0.248888776f};
  const std::vector<float> m = {0.0549999997f,   0.25f,         -0.00899999961f,
                                1.00000001e-07f, -0.599999964f, 0.00170000014f};
  const std::vector<float> v = {0.00999999978f,  1.00300002f, 9.98999967e-05f,
                                1.00000011e-15f, 100.800003f, 9.9910003e-06f};
  ExpectNear(p.w, w, w, 1e-6);
  ExpectNear(p.m, m, m, 1e-6);
  ExpectNear(p.v, v, v, 1e-6);
}

TEST(SgdTest, AgreesWithPyTorch) {
  PyTorch p;
  Sgd sgd = kSgd;
  sgd.step = 2;
  Update(TestContext(), sgd, p.g.data(), 6, p.w.data(), p.m.data());
  const std::vector<float> w = {0.997550011f,    -0.483999997f, 1.99809003f,
                                0.000998990028f, -3.26099992f,  0.249742001f};
  const std::vector<float> m = {0.245000005f,    -1.5999999f, 0.191f,
                                0.000101000005f, 26.1000004f, 0.0258000009f};
  ExpectNear(p.w, w, w, 1e-6);
  ExpectNear(p.m, m, m, 1e-6);
}

// Every step rounds the weight once more.
TEST(AdamWTest, AgreesWithTheReferenceOver50Steps) {
  Random random(1);
  for (const int64_t n : kSizes) {
    Tensor tensor(n, random), want = tensor;
    const std::vector<float> ones(n, 1), two(n, 2);
    for (AdamW adamw = kAdamW; adamw.step <= 50; ++adamw.step) {
      adamw.gradient_scale = random.Uniform(0.1f, 1);
      const std::vector<float> g = random.Vector(n, -1, 1);
      tensor.Update(TestContext(), adamw, g);
      want.UpdateReference(adamw, g);
    }
    ExpectNear(tensor.w, want.w, two, 3e-6);
    ExpectNear(tensor.m, want.m, ones, 1e-6);
    ExpectNear(tensor.v, want.v, want.v, 2e-6);
  }
}

TEST(SgdTest, AgreesWithTheReferenceOver50Steps) {
  Random random(2);
  for (const int64_t n : kSizes) {
    Tensor tensor(n, random), want = tensor;
    const std::vector<float> two(n, 2), ten(n, 10);
    for (Sgd sgd = kSgd; sgd.step <= 50; ++sgd.step) {
      sgd.gradient_scale = random.Uniform(0.1f, 1);
      const std::vector<float> g = random.Vector(n, -1, 1);
      tensor.Update(TestContext(), sgd, g);
      want.UpdateReference(sgd, g);
    }
    ExpectNear(tensor.w, want.w, two, 3e-6);
    ExpectNear(tensor.m, want.m, ten, 1e-6);
  }
}

TEST(SgdTest, NeedsNoMomentsWithoutMomentumAndDoesNotReadThemInStep1) {
  Random random(3);
  const std::vector<float> g = random.Vector(300, -1, 1);
  Tensor plain(300, random), first = plain;
  Sgd sgd = kSgd;
  first.m.assign(300, kNan);
  first.Update(TestContext(), sgd, g);
  sgd.momentum = 0;
  Update(TestContext(), sgd, g.data(), 300, plain.w.data(), nullptr);
  EXPECT_TRUE(Identical(first.w, plain.w));
  for (int64_t i = 0; i < 300; ++i) EXPECT_FALSE(std::isnan(first.m[i]));
}

// Zero gradients leave what weight decay leaves.
TEST(AdamWTest, ZeroGradientsAndZeroMomentsOnlyDecay) {
  Random random(4);
  Tensor tensor(300, random);
  Tensor8 tensor8(300, random);
  std::vector<float> want = tensor.w, want8 = tensor8.w;
  for (float& w : want) w *= static_cast<float>(1 - 1e-3);
  for (float& w : want8) w *= static_cast<float>(1 - 1e-3);
  const std::vector<float> zeros(300);
  tensor.Update(TestContext(), kAdamW, zeros);
  tensor8.Update(TestContext(), kAdamW, zeros);
  EXPECT_TRUE(Identical(tensor.w, want));
  EXPECT_TRUE(Identical(tensor8.w, want8));
  EXPECT_THAT(tensor8.m, Each(0));
  EXPECT_THAT(tensor8.v, Each(0));
  EXPECT_THAT(tensor8.m_scale, Each(kMinMomentScale));
  EXPECT_THAT(tensor8.v_scale, Each(kMinMomentScale));
}

// Multiplying by a power of two is exact.
TEST(OptimizerTest, TheScaleMultipliesTheGradient) {
  Random random(5);
  const std::vector<float> g = random.Vector(300, -1, 1);
  std::vector<float> quarter = g;
  for (float& value : quarter) value /= 4;
  const auto expect_same = [&](auto optimizer, auto tensor) {
    auto scaled = tensor;
    tensor.Update(TestContext(), optimizer, quarter);
    optimizer.gradient_scale = 0.25;
    scaled.Update(TestContext(), optimizer, g);
    EXPECT_TRUE(tensor.Identical(scaled));
  };
  ForEachOptimizer(300, random, expect_same);
}

TEST(OptimizerTest, TheCopyIsTheWeightsInBF16AndTheCopyChangesNothing) {
  Random random(6);
  const auto expect_copy = [&](const auto& optimizer, auto tensor) {
    const int64_t n = tensor.size();
    const std::vector<float> g = random.Vector(n, -1, 1);
    auto without = tensor;
    std::vector<uint16_t> copy(n + 1, 12345), want;
    tensor.Update(TestContext(), optimizer, g, copy.data());
    without.Update(TestContext(), optimizer, g);
    EXPECT_TRUE(tensor.Identical(without));
    for (const float w : tensor.w) want.push_back(ToBF16(w));
    want.push_back(12345);
    EXPECT_EQ(copy, want) << n;
  };
  for (const int64_t n : kSizes) ForEachOptimizer(n, random, expect_copy);
}

TEST(OptimizerTest, IsTheSameForAnyNumberOfThreads) {
  const CpuContext one(1), two(2), three(3);
  Random random(7);
  const auto expect_same = [&](auto optimizer, const auto& tensor) {
    auto a = tensor, b = tensor, c = tensor;
    for (optimizer.step = 1; optimizer.step <= 3; ++optimizer.step) {
      const std::vector<float> g = random.Vector(tensor.size(), -1, 1);
      a.Update(one.context(), optimizer, g);
      b.Update(two.context(), optimizer, g);
      c.Update(three.context(), optimizer, g);
      EXPECT_EQ(SumOfSquares(one.context(), g.data(), std::ssize(g)),
                SumOfSquares(two.context(), g.data(), std::ssize(g)));
      EXPECT_EQ(SumOfSquares(one.context(), g.data(), std::ssize(g)),
                SumOfSquares(three.context(), g.data(), std::ssize(g)));
    }
    EXPECT_TRUE(a.Identical(b)) << tensor.size();
    EXPECT_TRUE(a.Identical(c)) << tensor.size();
  };
  for (const int64_t n : kSizes) ForEachOptimizer(n, random, expect_same);
}

TEST(AdamWTest, ExtremeGradientsAgreeWithTheReference) {
  Random random(8);
  for (const float magnitude : {1e-45f, 1e-30f, 1e-20f, 1e-8f, 1.0f, 1e8f, 1e18f, 1e20f}) {
    Tensor tensor(40, random), want = tensor;
    const std::vector<float> two(40, 2), of_m(40, magnitude);
    for (AdamW adamw = kAdamW; adamw.step <= 5; ++adamw.step) {
      const std::vector<float> g = random.Vector(40, -magnitude, magnitude);
      tensor.Update(TestContext(), adamw, g);
      want.UpdateReference(adamw, g);
    }
    ExpectNear(tensor.w, want.w, two, 1e-6);
    ExpectNear(tensor.m, want.m, of_m, 1e-6);
    ExpectNear(tensor.v, want.v, want.v, 2e-6);
  }
}

TEST(AdamWTest, NanAndInfinityStayWhereTheyAre) {
  Random random(9);
  for (const float bad : {kNan, kInfinity}) {
    Tensor tensor(300, random);
    std::vector<float> g = random.Vector(300, -1, 1);
    g[3] = g[299] = bad;
    AdamW adamw = kAdamW;
    tensor.Update(TestContext(), adamw, g);
    g[3] = g[299] = 0;
    adamw.step = 2;
    tensor.Update(TestContext(), adamw, g);
    for (int64_t i = 0; i < 300; ++i) {
      EXPECT_EQ(std::isnan(tensor.w[i]), i == 3 || i == 299) << i;
      EXPECT_EQ(std::isfinite(tensor.v[i]), i != 3 && i != 299) << i;
    }
  }
}

TEST(MomentValuesTest, AscendFromZeroToOneAndAreSymmetric) {
  const float* m = MomentValues(/*is_signed=*/true);
  const float* v = MomentValues(/*is_signed=*/false);
  EXPECT_EQ(m[0], 0);
  EXPECT_EQ(v[0], 0);
  EXPECT_FLOAT_EQ(m[1], 1e-6f);
  EXPECT_FLOAT_EQ(v[1], 1e-7f);
  for (int code = 1; code < 128; ++code) EXPECT_GT(m[code], m[code - 1]);
  for (int code = 1; code < 256; ++code) EXPECT_GT(v[code], v[code - 1]);
  EXPECT_EQ(m[127], 1);
  EXPECT_EQ(v[255], 1);
  for (int code = 0; code < 128; ++code) EXPECT_EQ(m[128 + code], -m[code]);
}

// Every decade has twice the codes of the decade below, in equal steps.
TEST(MomentValuesTest, DivideEachDecadeIntoEqualSteps) {
  for (const bool is_signed : {true, false}) {
    const float* values = MomentValues(is_signed);
    const int bits = is_signed ? 7 : 8;
    for (int e = 1; e < bits; ++e) {
      const double top = std::pow(10.0, e + 1 - bits);
      const int last = (2 << e) - 1;
      EXPECT_FLOAT_EQ(values[last], static_cast<float>(top));
      for (int code = 1 << e; code <= last; ++code) {
        EXPECT_NEAR(values[code] - values[code - 1], 0.9 * top / (1 << e), 1e-6 * top) << code;
      }
    }
  }
}

// With β = 0 the moments are the gradients and their squares.
constexpr AdamW kGradientsAsMoments = {.learning_rate = 1e-3, .beta1 = 0, .beta2 = 0};

// Except that the update makes 0 of -0.
TEST(AdamW8Test, EveryCodeStaysWhatItIs) {
  Random random(10);
  for (const float scale : {1.0f, 3e-20f, 7e10f}) {
    Tensor8 tensor(512, random);
    std::vector<float> g(512);
    for (int code = 0; code < 256; ++code) {
      g[code] = MomentValues(true)[code] * scale;
      g[256 + code] = std::sqrt(MomentValues(false)[code] * scale);
    }
    tensor.Update(TestContext(), kGradientsAsMoments, g);
    EXPECT_EQ(tensor.m_scale[0], scale);
    for (int code = 0; code < 256; ++code) {
      EXPECT_EQ(tensor.m[code], code == 128 ? 0 : code);
      EXPECT_EQ(tensor.v[256 + code], code);
    }
  }
}

// The gap between two neighbouring codes around x, which is in [0,1].
float Gap(const float* values, int64_t count, float x) {
  const float* above = std::upper_bound(values, values + count - 1, x);
  return *above - *(above - 1);
}

TEST(AdamW8Test, RoundingErrsByAtMostHalfAGap) {
  Random random(11);
  constexpr int64_t kBlocks = 40;
  Tensor8 tensor(kBlocks * kMomentBlock, random);
  std::vector<float> g(tensor.size());
  for (float& value : g) value = random.Uniform(-1, 1) * std::pow(10.0f, random.Uniform(-8, 0));
  tensor.Update(TestContext(), kGradientsAsMoments, g);
  for (int64_t i = 0; i < tensor.size(); ++i) {
    const float m = g[i], v = g[i] * g[i];
    const float m_scale = tensor.m_scale[i / kMomentBlock];
    const float v_scale = tensor.v_scale[i / kMomentBlock];
    EXPECT_EQ(std::signbit(tensor.MomentM(i)), std::signbit(m));
    EXPECT_LE(std::abs(tensor.MomentM(i) - m),
              0.5001f * m_scale * Gap(MomentValues(true), 128, std::abs(m) / m_scale))
        << m / m_scale;
    if (v < 1e-7f * v_scale) {
      EXPECT_EQ(tensor.v[i], v > 0 ? 1 : 0);
    } else {
      EXPECT_LE(std::abs(tensor.MomentV(i) - v),
                0.5001f * v_scale * Gap(MomentValues(false), 256, v / v_scale))
          << v / v_scale;
    }
  }
}

// Every step starts from the codes of the reference. A moment between two codes may be rounded to
// either.
TEST(AdamW8Test, AgreesWithTheReferenceOver50Steps) {
  Random random(12);
  for (const int64_t n : kSizes) {
    Tensor8 tensor(n, random), want = tensor;
    const std::vector<float> two(n, 2), ones(MomentBlocks(n), 1);
    for (AdamW adamw = kAdamW; adamw.step <= 50; ++adamw.step) {
      const std::vector<float> g = random.Vector(n, -1, 1);
      tensor.Update(TestContext(), adamw, g);
      want.UpdateReference(adamw, g);
      ExpectNear(tensor.w, want.w, two, 1e-6);
      ExpectNear(tensor.m_scale, want.m_scale, ones, 1e-7);
      ExpectNear(tensor.v_scale, want.v_scale, want.v_scale, 1e-6);
      int64_t different = 0;
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_LE(std::abs(tensor.m[i] - want.m[i]), 1) << n << ' ' << i;
        ASSERT_LE(std::abs(tensor.v[i] - want.v[i]), 1) << n << ' ' << i;
        different += tensor.m[i] != want.m[i] || tensor.v[i] != want.v[i];
      }
      EXPECT_LE(different, 1 + n / 1000);
      tensor = want;
    }
  }
}

// Beside a large gradient, the v of a small one would be rounded to 0 and its step would be m / ε.
TEST(AdamW8Test, NoStepIsEnormousBesideALargeGradient) {
  Random random(13);
  for (const float large : {1.0f, 1e18f}) {
    Tensor8 tensor(256, random);
    const std::vector<float> before = tensor.w;
    for (AdamW adamw = {.learning_rate = 1e-3}; adamw.step <= 20; ++adamw.step) {
      std::vector<float> g = random.Vector(256, 1e-6f, 1e-5f);
      g[100] = large;
      tensor.Update(TestContext(), adamw, g);
      EXPECT_THAT(tensor.v, Each(Ge(1)));
    }
    for (int64_t i = 0; i < 256; ++i) EXPECT_NEAR(tensor.w[i], before[i], 20 * 1.1e-3) << i;
  }
}

TEST(AdamW8Test, ABlockThatIsNotFiniteStaysSoAndTheOthersDoNotSeeIt) {
  Random random(14);
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    Tensor8 tensor(3 * kMomentBlock, random), want = tensor;
    std::vector<float> g = random.Vector(tensor.size(), -1, 1);
    AdamW adamw = kAdamW;
    want.Update(TestContext(), adamw, g);
    g[kMomentBlock + 5] = bad;
    tensor.Update(TestContext(), adamw, g);
    EXPECT_TRUE(std::isnan(tensor.w[kMomentBlock + 5]));
    g[kMomentBlock + 5] = 0;
    adamw.step = 2;
    want.Update(TestContext(), adamw, g);
    tensor.Update(TestContext(), adamw, g);
    for (int64_t i = 0; i < tensor.size(); ++i) {
      const bool in_block = i / kMomentBlock == 1;
      EXPECT_EQ(std::isfinite(tensor.MomentM(i)), !in_block) << i;
      EXPECT_EQ(std::isfinite(tensor.MomentV(i)), !in_block) << i;
      if (in_block) continue;
      EXPECT_EQ(tensor.w[i], want.w[i]) << i;
    }
  }
}

TEST(AdamW8Test, ExtremeGradientsMakeNoNan) {
  Random random(15);
  for (const float magnitude : {1e-45f, 1e-30f, 1e-20f, 1e-8f, 1e8f, 1e18f, 1e20f}) {
    Tensor8 tensor(300, random);
    for (AdamW adamw = kAdamW; adamw.step <= 5; ++adamw.step) {
      tensor.Update(TestContext(), adamw, random.Vector(300, -magnitude, magnitude));
    }
    for (int64_t i = 0; i < 300; ++i) {
      EXPECT_TRUE(std::isfinite(tensor.w[i])) << magnitude;
      EXPECT_TRUE(std::isfinite(tensor.MomentM(i))) << magnitude;
      EXPECT_TRUE(std::isfinite(tensor.MomentV(i))) << magnitude;
    }
  }
}

// The mean loss Σ a[i] · w[i]² / 2 of the last of 300 steps with noisy gradients.
template <typename T>
double LossOfNoisyQuadratic(T tensor) {
  Random random(16);
  const int64_t n = tensor.size();
  std::vector<float> curvature(n), g(n);
  for (float& a : curvature) a = std::pow(10.0f, random.Uniform(-2, 0));
  double loss = 0;
  constexpr int64_t kSteps = 300, kMeasured = 50;
  for (AdamW adamw = {.learning_rate = 1e-2}; adamw.step <= kSteps; ++adamw.step) {
    for (int64_t i = 0; i < n; ++i) {
      g[i] = curvature[i] * tensor.w[i] + random.Uniform(-1, 1);
      if (adamw.step > kSteps - kMeasured) {
        loss += curvature[i] * tensor.w[i] * tensor.w[i] / 2 / kMeasured;
      }
    }
    tensor.Update(TestContext(), adamw, g);
  }
  return loss;
}

TEST(AdamW8Test, ReachesTheLossOfMomentsInFP32) {
  Random random(17), same(17);
  const double loss = LossOfNoisyQuadratic(Tensor(2000, random));
  const double loss8 = LossOfNoisyQuadratic(Tensor8(2000, same));
  EXPECT_NEAR(loss8 / loss, 1, 0.03) << loss;
}

// Updates the tensor and returns the measure.
template <typename Optimizer, typename T>
UpdateMeasure MeasuredUpdate(const Context& context, const Optimizer& optimizer,
                             const std::vector<float>& g, T& tensor) {
  UpdateMeasure measure{1, 2, 3, 4, 5};
  tensor.Update(context, optimizer, g, nullptr, &measure);
  return measure;
}

std::array<double, 5> Sums(const UpdateMeasure& measure) {
  return {measure.relative_change, measure.guarded_change, measure.change_squares,
          measure.value_squares, measure.gradient_squares};
}

template <typename Optimizer, typename T>
void ExpectMeasureOfReference(const Optimizer& optimizer, const std::vector<float>& g, T& tensor) {
  const std::vector<float> before = tensor.w;
  const auto got = Sums(MeasuredUpdate(TestContext(), optimizer, g, tensor));
  const auto want = Sums(reference::Measure(before.data(), tensor.w.data(), g.data(),
                                            optimizer.gradient_scale, tensor.size()));
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], 1e-5 * want[i]) << tensor.size() << ' ' << i;
  }
}

TEST(UpdateMeasureTest, OfKnownUpdates) {
  const Sgd sgd = {.learning_rate = 0.5, .gradient_scale = 2};
  Random random(20);
  Tensor tensor(4, random);
  tensor.w = {2, -4, 0x1p-33f, -0.25f};
  UpdateMeasure measure = MeasuredUpdate(TestContext(), sgd, {1, 3, 0x3p-33f, 0}, tensor);
  EXPECT_THAT(tensor.w, ElementsAre(1, -7, -0x2p-33f, -0.25f));
  EXPECT_DOUBLE_EQ(measure.value_squares, 20.0625);
  EXPECT_DOUBLE_EQ(measure.change_squares, 10);
  EXPECT_DOUBLE_EQ(measure.gradient_squares, 40);
  EXPECT_NEAR(measure.relative_change, 0.5 + 0.75 + 3, 1e-5);
  EXPECT_NEAR(measure.guarded_change, 0.5 + 0.75 + 0x3p-33 / 1e-8, 1e-5);

  tensor.w = {2, 0, -0.0f, 4};
  measure = MeasuredUpdate(TestContext(), sgd, {1, 3, 0, 0}, tensor);
  EXPECT_TRUE(std::isnan(measure.relative_change)) << "0 / 0";
  EXPECT_NEAR(measure.guarded_change, 0.5, 1e-6);
  EXPECT_DOUBLE_EQ(measure.change_squares, 10);

  tensor.w = {2, 0, 1, 4};
  measure = MeasuredUpdate(TestContext(), sgd, {1, 3, 0, 0}, tensor);
  EXPECT_EQ(measure.relative_change, kInfinity);
}

TEST(UpdateMeasureTest, AgreesWithTheReference) {
  Random random(21);
  for (const int64_t n : kSizes) {
    ForEachOptimizer(n, random, [&](auto optimizer, auto tensor) {
      optimizer.gradient_scale = 0.3;
      for (float& w : tensor.w) w *= std::pow(10.0f, random.Uniform(-12, 0));
      for (optimizer.step = 1; optimizer.step <= 3; ++optimizer.step) {
        ExpectMeasureOfReference(optimizer, random.Vector(n, -1, 1), tensor);
      }
    });
  }
}

// Sums of equal terms round in one direction.
TEST(UpdateMeasureTest, AgreesWithTheReferenceForEqualElements) {
  Random random(22);
  for (const float magnitude : {1e-15f, 3e-9f, 0.7f, 1e15f}) {
    ForEachOptimizer(100000, random, [&](const auto& optimizer, auto tensor) {
      tensor.w.assign(tensor.size(), magnitude);
      ExpectMeasureOfReference(optimizer, std::vector<float>(tensor.size(), 0.3f), tensor);
    });
  }
}

TEST(UpdateMeasureTest, ChangesNothingElse) {
  Random random(23);
  for (const int64_t n : kSizes) {
    ForEachOptimizer(n, random, [&](auto optimizer, auto tensor) {
      auto without = tensor;
      std::vector<uint16_t> copy(n), copy_without(n);
      for (optimizer.step = 1; optimizer.step <= 3; ++optimizer.step) {
        const std::vector<float> g = random.Vector(n, -1, 1);
        UpdateMeasure measure;
        tensor.Update(TestContext(), optimizer, g, copy.data(), &measure);
        without.Update(TestContext(), optimizer, g, copy_without.data());
      }
      EXPECT_TRUE(tensor.Identical(without)) << n;
      EXPECT_EQ(copy, copy_without) << n;
    });
  }
}

TEST(UpdateMeasureTest, IsTheSameForAnyNumberOfThreads) {
  const CpuContext one(1), two(2), three(3);
  Random random(24);
  for (const int64_t n : kSizes) {
    const std::vector<float> g = random.Vector(n, -1, 1);
    ForEachOptimizer(n, random, [&](const auto& optimizer, const auto& tensor) {
      const auto sums = [&](const CpuContext& cpu) {
        auto copy = tensor;
        return Sums(MeasuredUpdate(cpu.context(), optimizer, g, copy));
      };
      EXPECT_EQ(sums(one), sums(two)) << n;
      EXPECT_EQ(sums(one), sums(three)) << n;
    });
  }
}

TEST(UpdateMeasureTest, PassesOnWhatIsNotFinite) {
  Random random(25);
  for (const int64_t n : {1, 7, 5000}) {
    for (const int64_t place : {int64_t{0}, n / 2, n - 1}) {
      ForEachOptimizer(n, random, [&](const auto& optimizer, auto tensor) {
        std::vector<float> g = random.Vector(n, -1, 1);
        g[place] = kNan;
        const UpdateMeasure measure = MeasuredUpdate(TestContext(), optimizer, g, tensor);
        EXPECT_TRUE(std::isnan(measure.relative_change));
        EXPECT_TRUE(std::isnan(measure.guarded_change));
        EXPECT_TRUE(std::isnan(measure.change_squares));
        EXPECT_TRUE(std::isnan(measure.gradient_squares));
        EXPECT_TRUE(std::isfinite(measure.value_squares));
      });
    }
  }
}

TEST(SumOfSquaresTest, AgreesWithTheReference) {
  Random random(18);
  for (const int64_t n : kSizes) {
    for (const float magnitude : {1e-30f, 1.0f, 1e30f}) {
      const std::vector<float> x = random.Vector(n, -magnitude, magnitude);
      const double want = reference::SumOfSquares(x.data(), n);
      EXPECT_NEAR(SumOfSquares(TestContext(), x.data(), n), want, 1e-12 * want) << n;
    }
  }
}

TEST(SumOfSquaresTest, PassesOnWhatIsNotFinite) {
  for (const int64_t n : {1, 7, 5000}) {
    for (const int64_t place : {int64_t{0}, n / 2, n - 1}) {
      std::vector<float> x(n, 1);
      x[place] = -kInfinity;
      EXPECT_EQ(SumOfSquares(TestContext(), x.data(), n), kInfinity);
      x[place] = kNan;
      EXPECT_TRUE(std::isnan(SumOfSquares(TestContext(), x.data(), n)));
    }
  }
}

}  // namespace
}  // namespace whipsnake::kernels
