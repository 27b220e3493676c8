#include "kernels/selective_scan/selective_scan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

// One layer's weights and the rows of one sequence.
struct Problem {
  Problem(int64_t channel_count, int64_t row_count, int64_t state_count)
      : random(1 + channel_count * 10007 + row_count * 101 + state_count),
        channels(channel_count),
        length(row_count),
        states(state_count),
        x(row_count, channel_count, random, -2, 2),
        delta(row_count, channel_count, random, -1, 1),
        b(row_count, state_count, random, -1, 1),
        c(row_count, state_count, random, -1, 1),
        z(row_count, channel_count, random, -4, 4),
        delta_bias(random.Vector(channel_count, -6, 0)),
        a(random.Vector(state_count * channel_count, -16, -0.5f)),
        d(random.Vector(channel_count, -1, 1)),
        initial_state(random.Vector(state_count * channel_count, -1, 1)) {}

  SelectiveScanOperands Operands(TestMatrix& y) const {
    return {.x = x.view(),
            .delta = delta.view(),
            .delta_bias = delta_bias.data(),
            .a = a.data(),
            .b = b.view(),
            .c = c.view(),
            .d = d.data(),
            .z = z.view(),
            .y = y.view()};
  }

  Random random;
  int64_t channels, length, states;
  TestMatrix x, delta, b, c, z;
  std::vector<float> delta_bias, a, d, initial_state;
};

// |got - want| <= tolerance · (1 + |want|), or both NaN or the same infinity.
void ExpectClose(float got, float want, double tolerance, const std::string& where) {
  if (std::isnan(want)) {
    ASSERT_TRUE(std::isnan(got)) << where << ": " << got << " instead of NaN";
  } else if (std::isinf(want)) {
    ASSERT_EQ(got, want) << where;
  } else {
    ASSERT_LE(std::abs(got - want), tolerance * (1 + std::abs(want)))
        << where << ": " << got << ", " << want;
  }
}

// Runs kernel and reference on the whole sequence and compares outputs and states.
void ExpectAgreement(const Problem& p, double tolerance = 2e-6) {
  TestMatrix y(p.length, p.channels), expected(p.length, p.channels);
  std::vector<float> state = p.initial_state, expected_state = p.initial_state;
  SelectiveScan(TestContext(), {{{0, p.length, state.data()}}}, p.Operands(y));
  reference::SelectiveScan({{{0, p.length, expected_state.data()}}}, p.Operands(expected));
  for (int64_t t = 0; t < p.length; ++t) {
    for (int64_t e = 0; e < p.channels; ++e) {
      ExpectClose(y.at(t, e), expected.at(t, e), tolerance * (p.states + 1),
                  "t=" + std::to_string(t) + " e=" + std::to_string(e));
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  for (size_t i = 0; i < state.size(); ++i) {
    ExpectClose(state[i], expected_state[i], tolerance, "state " + std::to_string(i));
    if (testing::Test::HasFatalFailure()) return;
  }
  EXPECT_TRUE(y.GapsIntact());
}

class SelectiveScanSizes : public testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t>> {
 protected:
  int64_t channels() const { return std::get<0>(GetParam()); }
  int64_t length() const { return std::get<1>(GetParam()); }
  int64_t states() const { return std::get<2>(GetParam()); }
};

TEST_P(SelectiveScanSizes, AgreesWithTheReference) {
  ExpectAgreement(Problem(channels(), length(), states()));
}

TEST_P(SelectiveScanSizes, AnySplitIsBitIdentical) {
  Problem p(channels(), length(), states());
  TestMatrix whole(length(), channels());
  std::vector<float> whole_state = p.initial_state;
  SelectiveScan(TestContext(), {{{0, length(), whole_state.data()}}}, p.Operands(whole));

  const std::vector<int64_t> steps(length(), 1);
  for (const std::vector<int64_t>& split : {steps, RandomSplit(length(), p.random)}) {
    TestMatrix y(length(), channels());
    std::vector<float> state = p.initial_state;
    int64_t begin = 0;
    for (const int64_t part : split) {
      SelectiveScan(TestContext(), {{{begin, part, state.data()}}}, p.Operands(y));
      begin += part;
    }
    EXPECT_TRUE(y.Identical(whole));
    EXPECT_TRUE(Identical(state, whole_state));
  }
}

// Runs several sequences in one call, in a different order than their rows.
TEST_P(SelectiveScanSizes, BatchIsBitIdenticalToEachAlone) {
  Problem p(channels(), length(), states());
  TestMatrix alone(length(), channels()), batched(length(), channels());
  std::vector<ScanRun> runs;
  std::vector<std::vector<float>> states_of_runs, alone_states;
  int64_t begin = 0;
  for (const int64_t part : RandomSplit(length(), p.random)) {
    runs.push_back({begin, part, nullptr});
    states_of_runs.push_back(p.random.Vector(states() * channels(), -1, 1));
    begin += part;
  }
  alone_states = states_of_runs;
  for (size_t i = 0; i < runs.size(); ++i) {
    runs[i].state = alone_states[i].data();
    SelectiveScan(TestContext(), {&runs[i], 1}, p.Operands(alone));
    runs[i].state = states_of_runs[i].data();
  }
  std::reverse(runs.begin(), runs.end());
  SelectiveScan(TestContext(), runs, p.Operands(batched));
  EXPECT_TRUE(batched.Identical(alone));
  EXPECT_EQ(states_of_runs, alone_states);
}

// A channel's bits do not depend on its lane: they are the same alone and among other channels.
TEST_P(SelectiveScanSizes, AChannelAloneIsBitIdentical) {
  const Problem p(channels(), length(), states());
  TestMatrix whole(length(), channels());
  std::vector<float> whole_state = p.initial_state;
  SelectiveScan(TestContext(), {{{0, length(), whole_state.data()}}}, p.Operands(whole));
  for (const int64_t e : {channels() - 1, channels() / 2}) {
    TestMatrix y(length(), 1);
    std::vector<float> a, state;
    for (int64_t n = 0; n < states(); ++n) {
      a.push_back(p.a[n * channels() + e]);
      state.push_back(p.initial_state[n * channels() + e]);
    }
    SelectiveScanOperands one = p.Operands(y);
    one.x = one.x.Columns(e, 1);
    one.delta = one.delta.Columns(e, 1);
    one.z = one.z.Columns(e, 1);
    one.delta_bias += e;
    one.d += e;
    one.a = a.data();
    SelectiveScan(TestContext(), {{{0, length(), state.data()}}}, one);
    for (int64_t t = 0; t < length(); ++t) ASSERT_EQ(y.at(t, 0), whole.at(t, e)) << t;
    for (int64_t n = 0; n < states(); ++n)
      ASSERT_EQ(state[n], whole_state[n * channels() + e]) << n;
  }
}

TEST_P(SelectiveScanSizes, MayOverwriteXOrDelta) {
  Problem p(channels(), length(), states());
  TestMatrix apart(length(), channels());
  std::vector<float> state = p.initial_state;
  SelectiveScan(TestContext(), {{{0, length(), state.data()}}}, p.Operands(apart));
  for (TestMatrix Problem::*overwritten : {&Problem::x, &Problem::delta}) {
    Problem q = p;
    std::vector<float> q_state = p.initial_state;
    SelectiveScan(TestContext(), {{{0, length(), q_state.data()}}}, q.Operands(q.*overwritten));
    EXPECT_TRUE((q.*overwritten).Identical(apart));
    EXPECT_TRUE(Identical(q_state, state));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, SelectiveScanSizes,
                         testing::Combine(testing::Values(1, 3, 16, 17, 48, 512, 1536),
                                          testing::Values(1, 2, 3, 4, 5, 17, 300),
                                          testing::Values(1, 4, 16, 17)));

TEST(SelectiveScan, NoBiasIsABiasOfZero) {
  Problem p(17, 5, 16);
  std::fill(p.delta_bias.begin(), p.delta_bias.end(), 0.0f);
  TestMatrix with(5, 17), without(5, 17);
  std::vector<float> state = p.initial_state, other = p.initial_state;
  SelectiveScan(TestContext(), {{{0, 5, state.data()}}}, p.Operands(with));
  SelectiveScanOperands operands = p.Operands(without);
  operands.delta_bias = nullptr;
  SelectiveScan(TestContext(), {{{0, 5, other.data()}}}, operands);
  EXPECT_TRUE(with.Identical(without));
  EXPECT_TRUE(Identical(state, other));
}

// Steps on both sides of softplus's threshold, and decays far outside the range of exp.
TEST(SelectiveScan, LongStepsAgree) {
  Problem p(48, 17, 16);
  for (int64_t t = 0; t < p.length; ++t) {
    for (int64_t e = 0; e < p.channels; ++e) p.delta.view().row(t)[e] = p.random.Uniform(-10, 60);
  }
  ExpectAgreement(p, 4e-6);
}

// With Δa near 0, errors of the decay add up over time. Checks what is left of the state after
// 20000 tokens without input. The rounding errors of that many decays, half a unit in the last
// place of either sign, add up like a random walk to about 4e-6; one unit always in the same
// direction would add up to 1e-3.
TEST(SelectiveScan, SlowDecayGathersNoBias) {
  Problem p(16, 20000, 16);
  std::fill(p.a.begin(), p.a.end(), -1.0f);
  std::fill(p.initial_state.begin(), p.initial_state.end(), 1.0f);
  std::fill(p.delta_bias.begin(), p.delta_bias.end(), -9.0f);
  std::vector<double> steps(p.channels);
  for (int64_t t = 0; t < p.length; ++t) {
    for (int64_t e = 0; e < p.channels; ++e) {
      p.x.view().row(t)[e] = 0;
      steps[e] += std::log1p(std::exp(p.delta.at(t, e) - 9.0));
    }
  }
  TestMatrix y(p.length, p.channels);
  SelectiveScan(TestContext(), {{{0, p.length, p.initial_state.data()}}}, p.Operands(y));
  for (int64_t i = 0; i < p.states * p.channels; ++i) {
    EXPECT_NEAR(p.initial_state[i] / std::exp(-steps[i % p.channels]), 1.0, 3e-5) << i;
  }
}

// Training does not give a > 0, but the formula still holds: the state grows, finally to infinity.
TEST(SelectiveScan, GrowingStatesAgree) {
  Problem p(17, 5, 17);
  for (float& a : p.a) a = -a;
  std::fill(p.delta_bias.begin(), p.delta_bias.end(), 0.0f);
  ExpectAgreement(p, 2e-5);  // |Δa| near 20: one rounding of the exponent is 20 of the result
  for (float& a : p.a) a = 1000.0f;
  std::fill(p.initial_state.begin(), p.initial_state.end(), 1.0f);
  TestMatrix y(5, 17);
  SelectiveScan(TestContext(), {{{0, 5, p.initial_state.data()}}}, p.Operands(y));
  for (const float h : p.initial_state) EXPECT_EQ(h, std::numeric_limits<float>::infinity());
}

// Only the affected channel changes: its neighbours in the vector keep their bits.
TEST(SelectiveScan, InfinitiesAndNaNAgreeAndStayInTheirChannel) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Problem plain(20, 4, 16);
  TestMatrix undisturbed(4, 20);
  std::vector<float> state = plain.initial_state;
  SelectiveScan(TestContext(), {{{0, 4, state.data()}}}, plain.Operands(undisturbed));
  for (TestMatrix Problem::*where : {&Problem::x, &Problem::delta, &Problem::z}) {
    for (const float value : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
      for (const int64_t channel : {3, 18}) {
        Problem p = plain;
        (p.*where).view().row(1)[channel] = value;
        ExpectAgreement(p);
        TestMatrix y(4, 20);
        SelectiveScan(TestContext(), {{{0, 4, p.initial_state.data()}}}, p.Operands(y));
        for (int64_t t = 0; t < 4; ++t) {
          for (int64_t e = 0; e < 20; ++e) {
            ASSERT_TRUE(e == channel || y.at(t, e) == undisturbed.at(t, e)) << e;
          }
        }
      }
    }
  }
}

TEST(SelectiveScan, ADecayOfNaNOrMinusInfinityAgrees) {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    Problem p(20, 4, 16);
    p.a[5 * 20 + 7] = value;
    ExpectAgreement(p);
  }
}

}  // namespace
}  // namespace whipsnake::kernels
