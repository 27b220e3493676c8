#include "kernels/causal_conv1d/causal_conv1d.h"

#include <cmath>

#include "gtest/gtest.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

// A layer's weights, and one sequence of inputs.
struct Problem {
  Problem(int64_t width, int64_t channels, int64_t length, bool with_bias = true)
      : random(1 + width * 10007 + channels * 101 + length),
        width(width),
        channels(channels),
        length(length),
        x(length, channels, random, -2, 2),
        weight(random.Vector(width * channels, -1, 1)),
        bias(with_bias ? random.Vector(channels, -1, 1) : std::vector<float>()),
        initial_state(random.Vector((width - 1) * channels, -2, 2)) {}

  using Convolution = decltype(&CausalConv1dSilu);
  void Run(Convolution convolution, std::span<const ConvRun> runs, TestMatrix& y) const {
    convolution(runs, x.view(), weight.data(), bias.empty() ? nullptr : bias.data(), width,
                y.view());
  }

  Random random;
  int64_t width, channels, length;
  TestMatrix x;
  std::vector<float> weight, bias, initial_state;
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
    p.Run(CausalConv1dSilu, {{{0, length(), state.data()}}}, y);
    p.Run(reference::CausalConv1dSilu, {{{0, length(), expected_state.data()}}}, expected);
    for (int64_t t = 0; t < length(); ++t) {
      for (int64_t e = 0; e < channels(); ++e) {
        // Up to 9 terms of at most 2, rounded in fp32.
        ASSERT_NEAR(y.at(t, e), expected.at(t, e), 2e-6) << "t=" << t << " e=" << e;
      }
    }
    EXPECT_TRUE(Identical(state, expected_state));  // inputs, moved
    EXPECT_TRUE(y.GapsIntact());
  }
}

// One sequence in runs: one after the other, each a call.
TEST_P(CausalConv1d, AnySplitIsBitIdentical) {
  Problem p(width(), channels(), length());
  TestMatrix whole(length(), channels());
  std::vector<float> whole_state = p.initial_state;
  p.Run(CausalConv1dSilu, {{{0, length(), whole_state.data()}}}, whole);

  const std::vector<int64_t> steps(length(), 1);
  for (const std::vector<int64_t>& split : {steps, RandomSplit(length(), p.random)}) {
    TestMatrix y(length(), channels());
    std::vector<float> state = p.initial_state;
    int64_t begin = 0;
    for (const int64_t part : split) {
      p.Run(CausalConv1dSilu, {{{begin, part, state.data()}}}, y);
      begin += part;
    }
    EXPECT_TRUE(y.Identical(whole));
    EXPECT_TRUE(Identical(state, whole_state));
  }
}

// Several sequences in one call, in another order than their rows'.
TEST_P(CausalConv1d, BatchIsBitIdenticalToEachAlone) {
  Problem p(width(), channels(), length());
  TestMatrix alone(length(), channels()), batched(length(), channels());
  std::vector<ConvRun> runs;
  std::vector<std::vector<float>> states, alone_states;
  int64_t begin = 0;
  for (const int64_t part : RandomSplit(length(), p.random)) {
    runs.push_back({begin, part, nullptr});
    states.push_back(p.random.Vector((width() - 1) * channels(), -2, 2));
    begin += part;
  }
  alone_states = states;
  for (size_t i = 0; i < runs.size(); ++i) {
    runs[i].state = alone_states[i].data();
    p.Run(CausalConv1dSilu, {&runs[i], 1}, alone);
    runs[i].state = states[i].data();
  }
  std::reverse(runs.begin(), runs.end());
  p.Run(CausalConv1dSilu, runs, batched);
  EXPECT_TRUE(batched.Identical(alone));
  EXPECT_EQ(states, alone_states);
}

INSTANTIATE_TEST_SUITE_P(Sizes, CausalConv1d,
                         testing::Combine(testing::Values(1, 2, 3, 4, 5, 8),
                                          testing::Values(1, 3, 16, 17, 48, 512, 1536),
                                          testing::Values(1, 2, 3, 4, 5, 17, 300)));

}  // namespace
}  // namespace whipsnake::kernels
