// One suite for both implementations: the CPU's, run once per instruction set, and CUDA's, which
// the GPU bundle runs.
#include "kernels/rms_norm/rms_norm.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/cuda/device.h"
#include "kernels/device_memory.h"
#include "kernels/rms_norm/rms_norm_cuda.h"
#include "tests/kernels/central_difference.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

constexpr float kEpsilon = 1e-5f;
constexpr float kUntouched = 12345.0f;

// Operands with `gap` floats before the first row and after each row, which gives strides and
// alignments that do not fit vectors.
struct Operands {
  int64_t t, d, gap;
  std::vector<float> h, residual, gamma, y;
  bool y_is_h = false;

  Operands(int64_t rows, int64_t width, int64_t space)
      : t(rows), d(width), gap(space), gamma(gap + d), y(Size(), kUntouched) {
    std::mt19937 generator(17);
    std::normal_distribution<float> normal;
    for (auto* values : {&h, &residual}) {
      values->assign(Size(), kUntouched);
      for (int64_t i = 0; i < t * d; ++i)
        (*values)[gap + i / d * (d + gap) + i % d] = normal(generator);
    }
    for (float& value : gamma) value = 1 + normal(generator);
  }
  size_t Size() const { return gap + t * (d + gap); }
  template <typename T>
  MatrixView<T> View(T* data) const {
    return {data + gap, t, d, d + gap};
  }
};

void Reference(Operands& o) {
  const MatrixView<const float> h = o.h.empty() ? MatrixView<const float>() : o.View(o.h.data());
  reference::ResidualRmsNorm(h, o.View(o.residual.data()), o.gamma.data() + o.gap, kEpsilon,
                             o.View(o.y.data()));
}

absl::Status Cpu(const Context& context, Operands& o) {
  const MatrixView<const float> h = o.h.empty() ? MatrixView<const float>() : o.View(o.h.data());
  auto& y = o.y_is_h ? o.h : o.y;
  ResidualRmsNorm(context, h, o.View(o.residual.data()), o.gamma.data() + o.gap, kEpsilon,
                  o.View(y.data()));
  if (o.y_is_h) o.y = o.h;
  return absl::OkStatus();
}

absl::StatusOr<DeviceMemory> ToDevice(const std::vector<float>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  auto memory = DeviceMemory::Allocate(Device::kCuda, std::ssize(bytes));
  if (!memory.ok()) return memory;
  if (const absl::Status status = memory->CopyFromHost(bytes); !status.ok()) return status;
  return memory;
}

absl::Status Cuda(const Context& context, Operands& o) {
  auto h = ToDevice(o.h), residual = ToDevice(o.residual), gamma = ToDevice(o.gamma),
       y = ToDevice(o.y);
  for (const auto* memory : {&h, &residual, &gamma, &y}) {
    if (!memory->ok()) return memory->status();
  }
  const MatrixView<const float> h_view =
      o.h.empty() ? MatrixView<const float>() : o.View(h->as<const float>());
  const DeviceMemory& output = o.y_is_h ? *h : *y;
  absl::Status status =
      cuda::ResidualRmsNorm(context, h_view, o.View(residual->as<float>()),
                            gamma->as<float>() + o.gap, kEpsilon, o.View(output.as<float>()));
  if (status.ok()) status = cuda::Synchronize(context);
  if (status.ok()) status = residual->CopyToHost(std::as_writable_bytes(std::span(o.residual)));
  if (status.ok()) status = output.CopyToHost(std::as_writable_bytes(std::span(o.y)));
  return status;
}

void Normalize(Operands& operands) {
  const Context& context = TestContext();
  const absl::Status status =
      context.device == Device::kCuda ? Cuda(context, operands) : Cpu(context, operands);
  ASSERT_TRUE(status.ok()) << status.message();
}

void ExpectNear(const std::vector<float>& y, const std::vector<float>& expected) {
  ASSERT_EQ(y.size(), expected.size());
  for (size_t i = 0; i < y.size(); ++i) {
    if (!(std::abs(y[i] - expected[i]) <= 4e-6f * std::abs(expected[i]))) {
      FAIL() << "element " << i << " is " << y[i] << ", expected " << expected[i];
    }
  }
}

TEST(RmsNormTest, EqualsReference) {
  for (const int64_t d : {1, 3, 4, 15, 16, 17, 63, 128, 257, 768, 1001, 2560, 4096, 4100, 9001}) {
    for (const int64_t t : {1, 2, 33}) {
      for (const int64_t gap : {0, 1, 4}) {
        SCOPED_TRACE(testing::Message() << "T=" << t << " D=" << d << " gap=" << gap);
        Operands actual(t, d, gap);
        Operands expected = actual;
        Normalize(actual);
        Reference(expected);
        EXPECT_EQ(actual.residual, expected.residual);  // only additions, so exact
        ExpectNear(actual.y, expected.y);
      }
    }
  }
}

TEST(RmsNormTest, WithoutAnAdditionTheResidualStays) {
  Operands actual(5, 100, 0);
  actual.h.clear();
  Operands expected = actual;
  const std::vector<float> residual = actual.residual;
  Normalize(actual);
  Reference(expected);
  EXPECT_EQ(actual.residual, residual);
  ExpectNear(actual.y, expected.y);
}

TEST(RmsNormTest, TheOutputMayOverwriteTheAddend) {
  for (const int64_t d : {5, 768, 5000}) {
    Operands apart(9, d, 0);
    Operands in_place = apart;
    in_place.y_is_h = true;
    Normalize(apart);
    Normalize(in_place);
    EXPECT_EQ(in_place.y, apart.y);
    EXPECT_EQ(in_place.residual, apart.residual);
  }
}

TEST(RmsNormTest, ARowsBitsDependOnTheRowAlone) {
  for (const int64_t d : {17, 768, 4500}) {
    Operands batch(70, d, 0);
    Operands inputs = batch;
    Normalize(batch);
    for (const int64_t row : {0, 1, 69}) {
      Operands alone(1, d, 0);
      const auto copy_row = [&](const std::vector<float>& from, std::vector<float>& to) {
        std::copy_n(from.begin() + row * d, d, to.begin());
      };
      copy_row(inputs.h, alone.h);
      copy_row(inputs.residual, alone.residual);
      alone.gamma = inputs.gamma;
      Normalize(alone);
      EXPECT_EQ(alone.y,
                std::vector<float>(batch.y.begin() + row * d, batch.y.begin() + (row + 1) * d))
          << "row " << row << ", D=" << d;
    }
  }
}

TEST(RmsNormTest, ZerosStayZeros) {
  Operands o(2, 33, 0);
  std::fill(o.h.begin(), o.h.end(), 0.0f);
  std::fill(o.residual.begin(), o.residual.end(), 0.0f);
  Normalize(o);
  EXPECT_EQ(o.y, std::vector<float>(o.y.size(), 0.0f));
}

TEST(RmsNormTest, ANanStaysInItsRow) {
  Operands o(3, 50, 0);
  o.h[50 + 49] = std::nanf("");
  Normalize(o);
  for (int64_t i = 0; i < 3 * 50; ++i) {
    EXPECT_EQ(std::isnan(o.y[i]), i / 50 == 1) << "element " << i;
  }
}

TEST(RmsNormTest, NoRows) {
  Operands o(0, 16, 0);
  Normalize(o);
}

// For what only the CPU has.
class RmsNormCpuTest : public testing::Test {
 protected:
  void SetUp() override {
    if (TestContext().device != Device::kCpu) GTEST_SKIP() << "only on the CPU";
  }
};
class RmsNormCodesTest : public RmsNormCpuTest {};
class RmsNormBackwardTest : public RmsNormCpuTest {};
class NormalizedRmsNormTest : public RmsNormCpuTest {};

TEST_F(RmsNormCpuTest, TheNumberOfThreadsDoesNotMatter) {
  Operands one(130, 768, 0);
  Operands two = one;
  for (Operands* operands : {&one, &two}) {
    const CpuContext cpu(operands == &one ? 1 : 2);
    ASSERT_TRUE(Cpu(cpu.context(), *operands).ok());
  }
  EXPECT_EQ(one.y, two.y);
}

using CodesForm = void (*)(MatrixView<const float>, MatrixView<float>, const float*, float,
                           MatrixView<int8_t>);
constexpr CodesForm kKernel = [](auto... arguments) {
  ResidualRmsNorm(TestContext(), arguments...);
};

// Runs the int8 form and returns its codes. Also updates o.residual.
std::vector<int8_t> Codes(CodesForm form, Operands& o) {
  std::vector<int8_t> y(o.Size(), -77);
  const MatrixView<const float> h = o.h.empty() ? MatrixView<const float>() : o.View(o.h.data());
  form(h, o.View(o.residual.data()), o.gamma.data() + o.gap, kEpsilon, o.View(y.data()));
  return y;
}

// Divides γ by a scale of 1/30, so that many codes are used and a few values saturate.
void DivideGamma(Operands& o) {
  for (float& value : o.gamma) value *= 30;
}

TEST_F(RmsNormCodesTest, AreThoseOfTheFloatForm) {
  for (const int64_t d : {1, 3, 4, 15, 16, 17, 63, 128, 257, 768, 1001, 2560, 4100}) {
    for (const int64_t t : {1, 2, 33}) {
      for (const int64_t gap : {0, 1, 4}) {
        SCOPED_TRACE(testing::Message() << "T=" << t << " D=" << d << " gap=" << gap);
        Operands floats(t, d, gap);
        DivideGamma(floats);
        if (d > 100 && t == 2) floats.h.clear();
        Operands operands = floats;
        const std::vector<int8_t> codes = Codes(kKernel, operands);
        ASSERT_TRUE(Cpu(TestContext(), floats).ok());
        EXPECT_EQ(operands.residual, floats.residual);
        for (size_t i = 0; i < codes.size(); ++i) {
          ASSERT_EQ(codes[i], floats.y[i] == kUntouched ? -77 : ToCode(floats.y[i])) << i;
        }
      }
    }
  }
}

TEST_F(RmsNormCodesTest, AgreeWithTheReference) {
  Operands operands(40, 1001, 3);
  DivideGamma(operands);
  Operands expected_operands = operands;
  const std::vector<int8_t> codes = Codes(kKernel, operands);
  const std::vector<int8_t> expected = Codes(reference::ResidualRmsNorm, expected_operands);
  EXPECT_EQ(operands.residual, expected_operands.residual);
  int differing = 0, saturated = 0;
  for (size_t i = 0; i < codes.size(); ++i) {
    ASSERT_LE(std::abs(codes[i] - expected[i]), 1) << i;
    differing += codes[i] != expected[i];
    saturated += codes[i] == 127 || codes[i] == -128;
  }
  EXPECT_LE(differing, 40);  // of 40040
  EXPECT_GT(saturated, 100);
}

TEST_F(RmsNormCodesTest, ANanIsZeroAndStaysInItsRow) {
  Operands operands(3, 50, 0);
  DivideGamma(operands);
  operands.h[50 + 49] = std::nanf("");
  const std::vector<int8_t> codes = Codes(kKernel, operands);
  for (int row = 0; row < 3; ++row) {
    const auto begin = codes.begin() + row * 50;
    EXPECT_EQ(std::count(begin, begin + 50, 0) == 50, row == 1) << "row " << row;
  }
}

// The operands of the backward pass, and gradients that hold something already.
struct BackwardProblem {
  TestMatrix x, g, gx;
  std::vector<float> gamma, ggamma;

  BackwardProblem(int64_t rows, int64_t cols, Random& random)
      : x(rows, cols, random, -3, 4),
        g(rows, cols, random, -1, 1),
        gx(rows, cols, random, -1, 1),
        gamma(random.Vector(cols, -2, 2)),
        ggamma(random.Vector(cols, -1, 1)) {}

  void Run(const Context& context) {
    RmsNormBackward(context, x.view(), gamma.data(), kEpsilon, g.view(), gx.view(), ggamma.data());
  }
  void RunReference() {
    reference::RmsNormBackward(x.view(), gamma.data(), kEpsilon, g.view(), gx.view(),
                               ggamma.data());
  }
};

// Σ g ∘ y of one row in fp64.
double Loss(const std::vector<double>& x, const std::vector<double>& gamma, const float* g) {
  double square_mean = 0, loss = 0;
  for (const double v : x) square_mean += v * v / x.size();
  for (size_t i = 0; i < x.size(); ++i) {
    loss += g[i] * gamma[i] * x[i] / std::sqrt(square_mean + kEpsilon);
  }
  return loss;
}

TEST_F(RmsNormBackwardTest, TheReferenceHasTheDerivativesOfTheFormula) {
  Random random(1);
  for (const int64_t cols : {1, 2, 7, 48}) {
    BackwardProblem p(1, cols, random);
    const BackwardProblem before = p;
    p.RunReference();
    const float* row = p.x.view().row(0);
    std::vector<double> x(row, row + cols), gamma(p.gamma.begin(), p.gamma.end());
    const auto loss = [&] { return Loss(x, gamma, p.g.view().row(0)); };
    const std::vector<double> dx = CentralDifferences(x, loss),
                              dgamma = CentralDifferences(gamma, loss);
    for (int64_t i = 0; i < cols; ++i) {
      EXPECT_NEAR(p.gx.at(0, i) - before.gx.at(0, i), dx[i], 1e-6) << cols;
      EXPECT_NEAR(p.ggamma[i] - before.ggamma[i], dgamma[i], 1e-6) << cols;
    }
  }
}

TEST_F(RmsNormBackwardTest, AgreesWithTheReference) {
  Random random(2);
  for (const int64_t cols : {1, 7, 16, 31, 48, 768, 1000}) {
    for (const int64_t rows : {1, 2, 63, 64, 65, 200}) {
      SCOPED_TRACE(testing::Message() << "T=" << rows << " D=" << cols);
      BackwardProblem p(rows, cols, random);
      BackwardProblem want = p;
      p.Run(TestContext());
      want.RunReference();
      EXPECT_TRUE(p.gx.GapsIntact());
      for (int64_t i = 0; i < cols; ++i) {
        for (int64_t t = 0; t < rows; ++t) {
          // In a single column the terms cancel, and 1 / |x| amplifies what is left.
          ASSERT_NEAR(p.gx.at(t, i), want.gx.at(t, i), cols == 1 ? 1e-3 : 2e-6);
        }
        ASSERT_NEAR(p.ggamma[i], want.ggamma[i], 2e-5);
      }
    }
  }
}

TEST_F(RmsNormBackwardTest, TheNumberOfThreadsDoesNotMatter) {
  Random random(3);
  const BackwardProblem problem(300, 768, random);
  BackwardProblem alone = problem;
  alone.Run(Context());
  for (const int threads : {1, 2, 3}) {
    const CpuContext cpu(threads);
    BackwardProblem p = problem;
    p.Run(cpu.context());
    EXPECT_TRUE(p.gx.Identical(alone.gx)) << threads;
    EXPECT_TRUE(Identical(p.ggamma, alone.ggamma)) << threads;
  }
}

TEST_F(RmsNormBackwardTest, ARowIsTheSameAmongOthersAndWithoutGamma) {
  Random random(4);
  for (const int64_t cols : {1, 16, 31, 768}) {
    BackwardProblem p(70, cols, random);
    TestMatrix alone = p.gx;
    for (int64_t t = 0; t < 70; ++t) {
      RmsNormBackward(TestContext(), p.x.view().Rows(t, 1), p.gamma.data(), kEpsilon,
                      p.g.view().Rows(t, 1), alone.view().Rows(t, 1), nullptr);
    }
    p.Run(TestContext());
    EXPECT_TRUE(p.gx.Identical(alone));
  }
}

TEST_F(RmsNormBackwardTest, ARowOfZerosIsScaledByEpsilonAlone) {
  Random random(5);
  BackwardProblem p(1, 48, random);
  for (int64_t i = 0; i < 48; ++i) p.x.view().row(0)[i] = p.gx.view().row(0)[i] = 0;
  p.Run(TestContext());
  for (int64_t i = 0; i < 48; ++i) {
    const float want = p.g.at(0, i) * p.gamma[i] / std::sqrt(kEpsilon);
    EXPECT_NEAR(p.gx.at(0, i), want, 1e-6 * std::abs(want)) << i;
  }
}

TEST_F(RmsNormBackwardTest, ANanStaysInItsRow) {
  Random random(6);
  BackwardProblem p(3, 50, random);
  p.x.view().row(1)[49] = std::nanf("");
  p.Run(TestContext());
  for (int64_t t = 0; t < 3; ++t) {
    for (int64_t i = 0; i < 50; ++i) EXPECT_EQ(std::isnan(p.gx.at(t, i)), t == 1) << t;
  }
}

TEST_F(RmsNormBackwardTest, NoRows) {
  Random random(7);
  BackwardProblem p(0, 16, random);
  const BackwardProblem before = p;
  p.Run(TestContext());
  EXPECT_TRUE(Identical(p.ggamma, before.ggamma));
}

// x̂ and rstd of a matrix.
struct Normalized {
  TestMatrix normal;
  std::vector<float> rstd;

  Normalized(int64_t rows, int64_t cols) : normal(rows, cols), rstd(rows) {}
  void Run(const Context& context, const TestMatrix& x) {
    RmsNormalize(context, x.view(), kEpsilon, normal.view(), rstd.data());
  }
  void Backward(const Context& context, BackwardProblem& p) const {
    NormalizedRmsNormBackward(context, normal.view(), rstd.data(), p.gamma.data(), p.g.view(),
                              p.gx.view(), p.ggamma.data());
  }
};

TEST_F(NormalizedRmsNormTest, NormalizesAsTheReference) {
  Random random(8);
  for (const int64_t cols : {1, 7, 16, 31, 48, 768, 1000}) {
    TestMatrix x(9, cols, random, -3, 4);
    Normalized actual(9, cols), want(9, cols);
    actual.Run(TestContext(), x);
    reference::RmsNormalize(x.view(), kEpsilon, want.normal.view(), want.rstd.data());
    EXPECT_TRUE(actual.normal.GapsIntact());
    for (int64_t t = 0; t < 9; ++t) {
      EXPECT_NEAR(actual.rstd[t] / want.rstd[t], 1, 1e-6) << cols;
      for (int64_t i = 0; i < cols; ++i) {
        EXPECT_NEAR(actual.normal.at(t, i), want.normal.at(t, i), 4e-6) << cols;
      }
    }
    RmsNormalize(TestContext(), x.view(), kEpsilon, x.view(), actual.rstd.data());
    EXPECT_TRUE(x.Identical(actual.normal)) << "in place";
  }
}

TEST_F(NormalizedRmsNormTest, EqualsTheBackwardPassIfNothingIsLost) {
  Random random(9);
  for (const int64_t cols : {1, 7, 16, 31, 48, 768, 1000}) {
    SCOPED_TRACE(cols);
    BackwardProblem p(70, cols, random);
    BackwardProblem want = p;
    Normalized stored(70, cols);
    stored.Run(TestContext(), p.x);
    stored.Backward(TestContext(), p);
    want.Run(TestContext());
    EXPECT_TRUE(p.gx.GapsIntact());
    EXPECT_TRUE(Identical(p.ggamma, want.ggamma));
    for (int64_t i = 0; i < cols; ++i) {
      for (int64_t t = 0; t < 70; ++t) {
        ASSERT_NEAR(p.gx.at(t, i), want.gx.at(t, i), cols == 1 ? 1e-3 : 2e-6);
      }
    }
  }
}

// Any numbers may stand for x̂ and rstd, as they do after compression.
TEST_F(NormalizedRmsNormTest, BackwardAgreesWithTheReference) {
  Random random(10);
  for (const int64_t cols : {1, 7, 16, 31, 48, 768, 1000}) {
    for (const int64_t rows : {0, 1, 2, 63, 64, 65, 200}) {
      SCOPED_TRACE(testing::Message() << "T=" << rows << " D=" << cols);
      BackwardProblem p(rows, cols, random);
      BackwardProblem want = p;
      Normalized stored(rows, cols);
      stored.normal = TestMatrix(rows, cols, random, -2, 2);
      stored.rstd = random.Vector(rows, 0.1f, 2);
      stored.Backward(TestContext(), p);
      reference::NormalizedRmsNormBackward(stored.normal.view(), stored.rstd.data(),
                                           want.gamma.data(), want.g.view(), want.gx.view(),
                                           want.ggamma.data());
      EXPECT_TRUE(p.gx.GapsIntact());
      for (int64_t i = 0; i < cols; ++i) {
        for (int64_t t = 0; t < rows; ++t) ASSERT_NEAR(p.gx.at(t, i), want.gx.at(t, i), 1e-5);
        ASSERT_NEAR(p.ggamma[i], want.ggamma[i], 5e-5);
      }
    }
  }
}

TEST_F(NormalizedRmsNormTest, TheNumberOfThreadsDoesNotMatter) {
  Random random(11);
  const BackwardProblem problem(300, 768, random);
  BackwardProblem alone = problem;
  Normalized stored_alone(300, 768);
  stored_alone.Run(Context(), problem.x);
  stored_alone.Backward(Context(), alone);
  for (const int threads : {1, 2, 3}) {
    const CpuContext cpu(threads);
    BackwardProblem p = problem;
    Normalized stored(300, 768);
    stored.Run(cpu.context(), p.x);
    stored.Backward(cpu.context(), p);
    EXPECT_TRUE(stored.normal.Identical(stored_alone.normal)) << threads;
    EXPECT_TRUE(Identical(stored.rstd, stored_alone.rstd)) << threads;
    EXPECT_TRUE(p.gx.Identical(alone.gx)) << threads;
    EXPECT_TRUE(Identical(p.ggamma, alone.ggamma)) << threads;
  }
}

}  // namespace
}  // namespace whipsnake::kernels
