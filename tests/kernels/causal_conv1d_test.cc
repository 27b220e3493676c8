#include "kernels/causal_conv1d/causal_conv1d.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <span>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "tests/kernels/central_difference.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

// One layer's weights and one input sequence.
struct Problem {
  Problem(int64_t kernel_width, int64_t channel_count, int64_t row_count, bool with_bias = true)
      : random(1 + kernel_width * 10007 + channel_count * 101 + row_count),
        width(kernel_width),
        channels(channel_count),
        length(row_count),
        x(row_count, channel_count, random, -2, 2),
        weight(random.Vector(kernel_width * channel_count, -1, 1)),
        bias(with_bias ? random.Vector(channel_count, -1, 1) : std::vector<float>()),
        initial_state(random.Vector((kernel_width - 1) * channel_count, -2, 2)) {}

  const float* Bias() const { return bias.empty() ? nullptr : bias.data(); }
  void Run(std::span<const ConvRun> runs, TestMatrix& y) const {
    CausalConv1dSilu(TestContext(), runs, x.view(), weight.data(), Bias(), width, y.view());
  }
  void RunReference(std::span<const ConvRun> runs, TestMatrix& y) const {
    reference::CausalConv1dSilu(runs, x.view(), weight.data(), Bias(), width, y.view());
  }

  Random random;
  int64_t width, channels, length;
  TestMatrix x;
  std::vector<float> weight, bias, initial_state;
};

// The int8 form of Problem. The sums have about the standard deviation of W products of uniform
// codes, so SiLU's outputs use most codes and sometimes saturate.
struct QuantizedProblem {
  QuantizedProblem(int64_t kernel_width, int64_t channel_count, int64_t row_count,
                   bool with_bias = true)
      : random(2 + kernel_width * 10007 + channel_count * 101 + row_count),
        width(kernel_width),
        channels(channel_count),
        length(row_count),
        x(row_count, channel_count, random),
        weight(random.Codes(kernel_width * channel_count)),
        multiplier(random.Vector(channel_count, 1e-4f, 4e-4f)),
        bias(with_bias ? random.Vector(channel_count, -1, 1) : std::vector<float>()),
        output_multiplier(random.Vector(channel_count, 20, 40)),
        initial_state(random.Codes((kernel_width - 1) * channel_count)) {}

  QuantizedConvOperands Operands(TestCodes& y) const {
    return {x.view(),
            weight.data(),
            multiplier.data(),
            bias.empty() ? nullptr : bias.data(),
            width,
            output_multiplier.data(),
            y.view()};
  }
  void Run(std::span<const QuantizedConvRun> runs, TestCodes& y) const {
    CausalConv1dSilu(TestContext(), runs, Operands(y));
  }
  void RunReference(std::span<const QuantizedConvRun> runs, TestCodes& y) const {
    reference::CausalConv1dSilu(runs, Operands(y));
  }

  Random random;
  int64_t width, channels, length;
  TestCodes x;
  std::vector<int8_t> weight;
  std::vector<float> multiplier, bias, output_multiplier;
  std::vector<int8_t> initial_state;
};

class CausalConv1d : public testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t>> {
 protected:
  int64_t width() const { return std::get<0>(GetParam()); }
  int64_t channels() const { return std::get<1>(GetParam()); }
  int64_t length() const { return std::get<2>(GetParam()); }
};

TEST_P(CausalConv1d, AgreesWithTheReference) {
  for (const bool with_bias : {true, false}) {
    const Problem p(width(), channels(), length(), with_bias);
    TestMatrix y(length(), channels()), expected(length(), channels());
    std::vector<float> state = p.initial_state, expected_state = p.initial_state;
    p.Run({{{0, length(), state.data()}}}, y);
    p.RunReference({{{0, length(), expected_state.data()}}}, expected);
    for (int64_t t = 0; t < length(); ++t) {
      for (int64_t e = 0; e < channels(); ++e) {
        // A sum of up to 9 terms of at most 2, rounded in fp32.
        ASSERT_NEAR(y.at(t, e), expected.at(t, e), 2e-6) << "t=" << t << " e=" << e;
      }
    }
    EXPECT_TRUE(Identical(state, expected_state));  // copies of inputs, so exact
    EXPECT_TRUE(y.GapsIntact());
  }
}

TEST_P(CausalConv1d, CodesAgreeWithTheReference) {
  for (const bool with_bias : {true, false}) {
    const QuantizedProblem p(width(), channels(), length(), with_bias);
    TestCodes y(length(), channels()), expected(length(), channels());
    std::vector<int8_t> state = p.initial_state, expected_state = p.initial_state;
    p.Run({{{0, length(), state.data()}}}, y);
    p.RunReference({{{0, length(), expected_state.data()}}}, expected);
    int64_t differing = 0;
    for (int64_t t = 0; t < length(); ++t) {
      for (int64_t e = 0; e < channels(); ++e) {
        // SiLU's error may move a value across a rounding midpoint.
        ASSERT_LE(std::abs(y.at(t, e) - expected.at(t, e)), 1) << "t=" << t << " e=" << e;
        differing += y.at(t, e) != expected.at(t, e);
      }
    }
    EXPECT_LE(differing, 1 + length() * channels() / 1000);
    EXPECT_EQ(state, expected_state);
    EXPECT_TRUE(y.GapsIntact());
  }
}

// Tests the largest and the smallest sums. The bias cancels the sum except for a number of at least
// 20, which SiLU returns unchanged, so the output is that number only if the sum is exact.
TEST_P(CausalConv1d, SumsOfCodesAreExact) {
  QuantizedProblem p(width(), channels(), 1);
  std::ranges::fill(p.multiplier, 1.0f);
  std::ranges::fill(p.output_multiplier, 1.0f);
  for (int64_t i = 0; i < width() * channels(); i += 3) p.weight[i] = -128;
  std::vector<int8_t> state = p.initial_state;
  std::ranges::fill(state, -128);
  std::vector<int> expected(channels());
  for (int64_t e = 0; e < channels(); ++e) {
    if (e % 2 == 0) p.x.view().row(0)[e] = -128;
    int32_t sum = p.weight[(width() - 1) * channels() + e] * p.x.at(0, e);
    for (int64_t k = 0; k < width() - 1; ++k) sum += p.weight[k * channels() + e] * -128;
    expected[e] = static_cast<int>(20 + e % 108);
    p.bias[e] = static_cast<float>(expected[e] - sum);
  }
  TestCodes y(1, channels());
  p.Run({{{0, 1, state.data()}}}, y);
  for (int64_t e = 0; e < channels(); ++e) ASSERT_EQ(y.at(0, e), expected[e]) << "e=" << e;
}

// Processes one sequence in several runs, one call for each.
template <typename Run, typename Problem, typename Matrix>
void ExpectAnySplitIsBitIdentical(Problem p, Matrix whole) {
  auto whole_state = p.initial_state;
  p.Run({{Run{0, p.length, whole_state.data()}}}, whole);

  const std::vector<int64_t> steps(p.length, 1);
  for (const std::vector<int64_t>& split : {steps, RandomSplit(p.length, p.random)}) {
    Matrix y(p.length, p.channels);
    auto state = p.initial_state;
    int64_t begin = 0;
    for (const int64_t part : split) {
      p.Run({{Run{begin, part, state.data()}}}, y);
      begin += part;
    }
    EXPECT_TRUE(y.Identical(whole));
    EXPECT_TRUE(Identical(state, whole_state));
  }
}

TEST_P(CausalConv1d, AnySplitIsBitIdentical) {
  ExpectAnySplitIsBitIdentical<ConvRun>(Problem(width(), channels(), length()),
                                        TestMatrix(length(), channels()));
  ExpectAnySplitIsBitIdentical<QuantizedConvRun>(QuantizedProblem(width(), channels(), length()),
                                                 TestCodes(length(), channels()));
}

// Runs several sequences in one call, in a different order than their rows.
template <typename Run, typename Problem, typename Matrix>
void ExpectBatchIsBitIdenticalToEachAlone(Problem p, Matrix alone) {
  Matrix batched = alone;
  std::vector<Run> runs;
  // Each run starts from a random state of its own.
  std::vector<decltype(p.initial_state)> states, alone_states;
  int64_t begin = 0;
  for (const int64_t part : RandomSplit(p.length, p.random)) {
    runs.push_back({begin, part, nullptr});
    states.push_back(Problem(p.width, p.channels, begin + 1).initial_state);
    begin += part;
  }
  alone_states = states;
  for (size_t i = 0; i < runs.size(); ++i) {
    runs[i].state = alone_states[i].data();
    p.Run({&runs[i], 1}, alone);
    runs[i].state = states[i].data();
  }
  std::reverse(runs.begin(), runs.end());
  p.Run(runs, batched);
  EXPECT_TRUE(batched.Identical(alone));
  EXPECT_EQ(states, alone_states);
}

TEST_P(CausalConv1d, BatchIsBitIdenticalToEachAlone) {
  ExpectBatchIsBitIdenticalToEachAlone<ConvRun>(Problem(width(), channels(), length()),
                                                TestMatrix(length(), channels()));
  ExpectBatchIsBitIdenticalToEachAlone<QuantizedConvRun>(
      QuantizedProblem(width(), channels(), length()), TestCodes(length(), channels()));
}

INSTANTIATE_TEST_SUITE_P(Sizes, CausalConv1d,
                         testing::Combine(testing::Values(1, 2, 3, 4, 5, 6, 7, 8),
                                          testing::Values(1, 3, 16, 17, 48, 512, 1536),
                                          testing::Values(1, 2, 3, 4, 5, 17, 300)));

// A batch of sequences, and gradients that hold something already.
struct BackwardProblem {
  BackwardProblem(int64_t kernel_width, int64_t channel_count, std::vector<RowRange> ranges,
                  int64_t row_count, bool with_bias = true)
      : p(kernel_width, channel_count, row_count, with_bias),
        sequences(std::move(ranges)),
        g(row_count, channel_count, p.random, -1, 1),
        gx(row_count, channel_count, p.random, -1, 1),
        gweight(p.random.Vector(kernel_width * channel_count, -1, 1)),
        gbias(p.random.Vector(channel_count, -1, 1)) {}

  CausalConv1dGradients Gradients() { return {gx.view(), gweight.data(), gbias.data()}; }
  void Run(const Context& context) {
    CausalConv1dSiluBackward(context, sequences, p.x.view(), p.weight.data(), p.Bias(), p.width,
                             g.view(), Gradients());
  }
  void RunReference() {
    reference::CausalConv1dSiluBackward(sequences, p.x.view(), p.weight.data(), p.Bias(), p.width,
                                        g.view(), Gradients());
  }
  bool GradientsIdentical(const BackwardProblem& other) const {
    return gx.Identical(other.gx) && Identical(gweight, other.gweight) &&
           Identical(gbias, other.gbias);
  }

  Problem p;
  std::vector<RowRange> sequences;
  TestMatrix g, gx;
  std::vector<float> gweight, gbias;
};

// Σ g ∘ y of one sequence of one channel in fp64.
double Loss(const std::vector<double>& x, const std::vector<double>& weight, double bias,
            const TestMatrix& g) {
  const int64_t length = std::ssize(x), width = std::ssize(weight);
  double loss = 0;
  for (int64_t t = 0; t < length; ++t) {
    double v = bias;
    for (int64_t k = std::max<int64_t>(0, width - 1 - t); k < width; ++k) {
      v += weight[k] * x[t - (width - 1) + k];
    }
    loss += g.at(t, 0) * v / (1 + std::exp(-v));
  }
  return loss;
}

TEST(CausalConv1dBackward, TheReferenceHasTheDerivativesOfTheFormula) {
  for (const int64_t width : {1, 2, 4, 8}) {
    for (const int64_t length : {1, 3, 20}) {
      BackwardProblem b(width, 1, {{0, length}}, length);
      const BackwardProblem before = b;
      b.RunReference();
      std::vector<double> x(length), weight(b.p.weight.begin(), b.p.weight.end()),
          bias(b.p.bias.begin(), b.p.bias.end());
      for (int64_t t = 0; t < length; ++t) x[t] = b.p.x.at(t, 0);
      const auto loss = [&] { return Loss(x, weight, bias[0], b.g); };
      const std::vector<double> dx = CentralDifferences(x, loss),
                                dweight = CentralDifferences(weight, loss),
                                dbias = CentralDifferences(bias, loss);
      for (int64_t t = 0; t < length; ++t) EXPECT_NEAR(b.gx.at(t, 0), dx[t], 1e-6) << t;
      for (int64_t k = 0; k < width; ++k) {
        EXPECT_NEAR(b.gweight[k] - before.gweight[k], dweight[k], 1e-6) << k;
      }
      EXPECT_NEAR(b.gbias[0] - before.gbias[0], dbias[0], 1e-6);
    }
  }
}

// Sequences of many lengths with rows between them that belong to none.
std::vector<RowRange> RaggedSequences() {
  return {{200, 130}, {1, 1}, {3, 2}, {6, 63}, {70, 64}, {134, 65}};
}
constexpr int64_t kRaggedRows = 331;

TEST(CausalConv1dBackward, AgreesWithTheReference) {
  for (int64_t width = 1; width <= 8; ++width) {
    for (const int64_t channels : {1, 16, 48, 100, 768}) {
      SCOPED_TRACE(testing::Message() << "W=" << width << " E=" << channels);
      BackwardProblem b(width, channels, RaggedSequences(), kRaggedRows, channels != 48);
      BackwardProblem want = b;
      b.Run(TestContext());
      want.RunReference();
      EXPECT_TRUE(b.gx.GapsIntact());
      for (int64_t e = 0; e < channels; ++e) {
        for (int64_t t = 0; t < kRaggedRows; ++t) {
          ASSERT_NEAR(b.gx.at(t, e), want.gx.at(t, e), 4e-6) << "t=" << t << " e=" << e;
        }
        ASSERT_NEAR(b.gbias[e], want.gbias[e], 5e-5) << e;
        for (int64_t k = 0; k < width; ++k) {
          ASSERT_NEAR(b.gweight[k * channels + e], want.gweight[k * channels + e], 1e-4) << e;
        }
      }
    }
  }
}

TEST(CausalConv1dBackward, RowsOfNoSequenceStayAsTheyAre) {
  BackwardProblem b(4, 100, RaggedSequences(), kRaggedRows);
  const BackwardProblem before = b;
  b.Run(TestContext());
  for (const int64_t t : {0, 2, 5, 69, 199, 330}) {
    for (int64_t e = 0; e < 100; ++e) ASSERT_EQ(b.gx.at(t, e), before.gx.at(t, e)) << t;
  }
}

TEST(CausalConv1dBackward, TheNumberOfThreadsDoesNotMatter) {
  const BackwardProblem problem(4, 768, RaggedSequences(), kRaggedRows);
  BackwardProblem alone = problem;
  alone.Run(Context());
  for (const int threads : {1, 2, 3}) {
    const CpuContext cpu(threads);
    BackwardProblem b = problem;
    b.Run(cpu.context());
    EXPECT_TRUE(b.GradientsIdentical(alone)) << threads;
  }
}

TEST(CausalConv1dBackward, ASequenceIsTheSameAmongOthers) {
  BackwardProblem b(4, 100, RaggedSequences(), kRaggedRows);
  BackwardProblem apart = b;
  b.Run(TestContext());
  for (const RowRange& sequence : b.sequences) {
    apart.sequences = {sequence};
    apart.Run(TestContext());
  }
  EXPECT_TRUE(b.GradientsIdentical(apart));
}

TEST(CausalConv1dBackward, UnwantedGradientsDoNotMatter) {
  BackwardProblem b(4, 100, RaggedSequences(), kRaggedRows);
  BackwardProblem only_x = b;
  b.Run(TestContext());
  const Problem& p = only_x.p;
  CausalConv1dSiluBackward(TestContext(), only_x.sequences, p.x.view(), p.weight.data(), p.Bias(),
                           p.width, only_x.g.view(), {.x = only_x.gx.view()});
  EXPECT_TRUE(only_x.gx.Identical(b.gx));
}

// Far from 0, SiLU's slope is 0 or 1.
TEST(CausalConv1dBackward, LargeSumsAgree) {
  BackwardProblem b(3, 48, {{0, 20}}, 20);
  for (float& weight : b.p.weight) weight *= 1000;
  BackwardProblem want = b;
  b.Run(TestContext());
  want.RunReference();
  for (int64_t t = 0; t < 20; ++t) {
    for (int64_t e = 0; e < 48; ++e) ASSERT_NEAR(b.gx.at(t, e), want.gx.at(t, e), 6e-3) << t;
  }
}

TEST(CausalConv1dBackward, ANanReachesOnlyItsWindowAndChannel) {
  BackwardProblem b(3, 20, {{0, 20}}, 20);
  b.p.x.view().row(10)[7] = std::nanf("");
  b.Run(TestContext());
  // It is in the sums of rows 10 to 12, which have the inputs of rows 8 to 12.
  for (int64_t t = 0; t < 20; ++t) {
    for (int64_t e = 0; e < 20; ++e) {
      EXPECT_EQ(std::isnan(b.gx.at(t, e)), e == 7 && t >= 8 && t <= 12) << "t=" << t << " e=" << e;
    }
  }
}

}  // namespace
}  // namespace whipsnake::kernels
