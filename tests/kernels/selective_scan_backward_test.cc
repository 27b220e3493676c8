// The scan for training and its backward pass.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/selective_scan/selective_scan.h"
#include "tests/kernels/central_difference.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

// Sequences of many lengths, in another order than their rows, with rows between them that belong
// to none.
std::vector<RowRange> RaggedSequences() {
  return {{200, 130}, {1, 1}, {3, 2}, {6, 63}, {70, 64}, {134, 65}};
}
constexpr int64_t kRaggedRows = 331;
constexpr int64_t kRowsOfNone[] = {0, 2, 5, 69, 199, 330};

// One layer's weights and a batch of sequences, and gradients that hold something already.
struct Problem {
  Problem(int64_t channel_count, int64_t state_count, std::vector<RowRange> ranges, int64_t rows)
      : random(1 + channel_count * 10007 + state_count * 101 + rows),
        channels(channel_count),
        states(state_count),
        sequences(std::move(ranges)),
        x(rows, channels, random, -2, 2),
        delta(rows, channels, random, -1, 1),
        b(rows, states, random, -1, 1),
        c(rows, states, random, -1, 1),
        z(rows, channels, random, -4, 4),
        g(rows, channels, random, -1, 1),
        delta_bias(random.Vector(channels, -6, 0)),
        a(random.Vector(states * channels, -16, -0.5f)),
        d(random.Vector(channels, -1, 1)),
        y(rows, channels),
        kept(ScanChunks(sequences) * states * channels, std::nanf("")),
        gx(rows, channels),
        gdelta(rows, channels),
        gb(rows, states),
        gc(rows, states),
        gz(rows, channels),
        gdelta_bias(random.Vector(channels, -1, 1)),
        ga(random.Vector(states * channels, -1, 1)),
        gd(random.Vector(channels, -1, 1)) {}
  Problem(int64_t channel_count, int64_t state_count)
      : Problem(channel_count, state_count, RaggedSequences(), kRaggedRows) {}

  SelectiveScanOperands Operands() {
    return {.x = x.view(),
            .delta = delta.view(),
            .delta_bias = delta_bias.empty() ? nullptr : delta_bias.data(),
            .a = a.data(),
            .b = b.view(),
            .c = c.view(),
            .d = d.data(),
            .z = z.view(),
            .y = y.view()};
  }
  SelectiveScanGradients Gradients() {
    return {.x = gx.view(),
            .delta = gdelta.view(),
            .b = gb.view(),
            .c = gc.view(),
            .z = gz.view(),
            .delta_bias = gdelta_bias.data(),
            .a = ga.data(),
            .d = gd.data()};
  }
  void Run(const Context& context) {
    SelectiveScanForTraining(context, sequences, Operands(), kept.data());
    SelectiveScanBackward(context, sequences, Operands(), kept.data(), g.view(), Gradients());
  }
  void RunReference() {
    reference::SelectiveScanBackward(sequences, Operands(), g.view(), Gradients());
  }
  bool GradientsIdentical(const Problem& other) const {
    return gx.Identical(other.gx) && gdelta.Identical(other.gdelta) && gb.Identical(other.gb) &&
           gc.Identical(other.gc) && gz.Identical(other.gz) &&
           Identical(gdelta_bias, other.gdelta_bias) && Identical(ga, other.ga) &&
           Identical(gd, other.gd);
  }

  Random random;
  int64_t channels, states;
  std::vector<RowRange> sequences;
  TestMatrix x, delta, b, c, z, g;
  std::vector<float> delta_bias, a, d;
  TestMatrix y;
  std::vector<float> kept;
  TestMatrix gx, gdelta, gb, gc, gz;
  std::vector<float> gdelta_bias, ga, gd;
};

// The root mean square of the values that a gradient has in the reference: the unit of its errors.
class Scale {
 public:
  void Add(double v) {
    sum_ += v * v;
    ++count_;
  }
  double value() const { return std::sqrt(sum_ / count_) + 1e-30; }

 private:
  double sum_ = 0;
  int64_t count_ = 0;
};

void ExpectClose(const TestMatrix& got, const TestMatrix& want, double tolerance,
                 const std::string& what) {
  const MatrixView<const float> g = got.view(), w = want.view();
  Scale scale;
  for (int64_t t = 0; t < w.rows; ++t) {
    for (int64_t i = 0; i < w.cols; ++i) {
      if (w.row(t)[i] != TestMatrix::kGap) scale.Add(w.row(t)[i]);
    }
  }
  for (int64_t t = 0; t < w.rows; ++t) {
    for (int64_t i = 0; i < w.cols; ++i) {
      const double unit = scale.value() + std::abs(w.row(t)[i]);
      ASSERT_NEAR(g.row(t)[i], w.row(t)[i], tolerance * unit) << what << " t=" << t << " i=" << i;
    }
  }
  EXPECT_TRUE(got.GapsIntact()) << what;
}

void ExpectClose(const std::vector<float>& got, const std::vector<float>& want, double tolerance,
                 const std::string& what) {
  Scale scale;
  for (const float v : want) scale.Add(v);
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], tolerance * (scale.value() + std::abs(want[i]))) << what << i;
  }
}

void ExpectGradientsClose(const Problem& got, const Problem& want, double tolerance) {
  ExpectClose(got.gx, want.gx, tolerance, "gx");
  ExpectClose(got.gdelta, want.gdelta, tolerance, "gdelta");
  ExpectClose(got.gb, want.gb, tolerance, "gb");
  ExpectClose(got.gc, want.gc, tolerance, "gc");
  ExpectClose(got.gz, want.gz, tolerance, "gz");
  ExpectClose(got.gdelta_bias, want.gdelta_bias, tolerance, "gdelta_bias");
  ExpectClose(got.ga, want.ga, tolerance, "ga");
  ExpectClose(got.gd, want.gd, tolerance, "gd");
}

void ExpectAgreement(Problem p, double tolerance = 1e-5) {
  Problem want = p;
  p.Run(TestContext());
  want.RunReference();
  ExpectGradientsClose(p, want, tolerance);
}

TEST(SelectiveScanForTraining, CountsChunks) {
  EXPECT_EQ(ScanChunks({}), 0);
  for (const auto& [length, chunks] : {std::pair{1, 1}, {kScanChunk, 1}, {kScanChunk + 1, 2}}) {
    const RowRange sequences[] = {{0, length}, {length, length}};
    EXPECT_EQ(ScanChunks(sequences), 2 * chunks) << length;
  }
}

// y and the kept states are those of inference, which pauses after every chunk.
TEST(SelectiveScanForTraining, EqualsInference) {
  for (const int64_t channels : {1, 16, 100, 768}) {
    for (const int64_t states : {1, 16, 33}) {
      SCOPED_TRACE(testing::Message() << "E=" << channels << " N=" << states);
      Problem p(channels, states);
      SelectiveScanForTraining(TestContext(), p.sequences, p.Operands(), p.kept.data());
      TestMatrix y(kRaggedRows, channels);
      SelectiveScanOperands operands = p.Operands();
      operands.y = y.view();
      std::vector<float> kept;
      for (const RowRange& sequence : p.sequences) {
        std::vector<float> state(states * channels);
        for (int64_t first = 0; first < sequence.length; first += kScanChunk) {
          kept.insert(kept.end(), state.begin(), state.end());
          const ScanRun run{sequence.begin + first, std::min(kScanChunk, sequence.length - first),
                            state.data()};
          SelectiveScan(TestContext(), {&run, 1}, operands);
        }
      }
      EXPECT_TRUE(y.Identical(p.y));
      EXPECT_TRUE(Identical(kept, p.kept));
    }
  }
}

// The operands of one sequence in fp64.
struct Doubles {
  explicit Doubles(Problem& p)
      : x(Values(p.x)),
        delta(Values(p.delta)),
        b(Values(p.b)),
        c(Values(p.c)),
        z(Values(p.z)),
        g(Values(p.g)),
        delta_bias(p.delta_bias.begin(), p.delta_bias.end()),
        a(p.a.begin(), p.a.end()),
        d(p.d.begin(), p.d.end()) {}

  static std::vector<double> Values(TestMatrix& matrix) {
    std::vector<double> values;
    for (int64_t t = 0; t < matrix.view().rows; ++t) {
      values.insert(values.end(), matrix.view().row(t), matrix.view().row(t) + matrix.view().cols);
    }
    return values;
  }

  // Σ g ∘ y.
  double Loss() const {
    const int64_t channels = std::ssize(d), states = std::ssize(a) / channels;
    double loss = 0;
    for (int64_t e = 0; e < channels; ++e) {
      std::vector<double> h(states);
      for (int64_t at = e, t = 0; at < std::ssize(x); at += channels, ++t) {
        const double v = delta[at] + delta_bias[e];
        const double step = v > 20 ? v : std::log1p(std::exp(v));
        double p = d[e] * x[at];
        for (int64_t n = 0; n < states; ++n) {
          h[n] = std::exp(step * a[n * channels + e]) * h[n] + step * x[at] * b[t * states + n];
          p += h[n] * c[t * states + n];
        }
        loss += g[at] * p * z[at] / (1 + std::exp(-z[at]));
      }
    }
    return loss;
  }

  std::vector<double> x, delta, b, c, z, g, delta_bias, a, d;
};

TEST(SelectiveScanBackward, TheReferenceHasTheDerivativesOfTheFormula) {
  for (const float shift : {0.0f, 30.0f}) {  // at 30, softplus is the identity
    for (const int64_t length : {1, 2, 9}) {
      Problem p(3, 4, {{0, length}}, length);
      for (float& bias : p.delta_bias) bias += shift;
      for (float& a : p.a) a /= 1 + shift;
      for (auto* sums : {&p.gdelta_bias, &p.ga, &p.gd}) std::fill(sums->begin(), sums->end(), 0.0f);
      p.RunReference();
      Doubles o(p);
      const auto expect = [&](const char* what, std::vector<double>& variables,
                              const std::vector<double>& gradients) {
        const std::vector<double> want = CentralDifferences(variables, [&] { return o.Loss(); });
        ASSERT_EQ(gradients.size(), want.size());
        for (size_t i = 0; i < want.size(); ++i) {
          EXPECT_NEAR(gradients[i], want[i], 1e-6 * (1 + std::abs(want[i]))) << what << i;
        }
      };
      expect("gx", o.x, Doubles::Values(p.gx));
      expect("gdelta", o.delta, Doubles::Values(p.gdelta));
      expect("gb", o.b, Doubles::Values(p.gb));
      expect("gc", o.c, Doubles::Values(p.gc));
      expect("gz", o.z, Doubles::Values(p.gz));
      expect("gdelta_bias", o.delta_bias, {p.gdelta_bias.begin(), p.gdelta_bias.end()});
      expect("ga", o.a, {p.ga.begin(), p.ga.end()});
      expect("gd", o.d, {p.gd.begin(), p.gd.end()});
    }
  }
}

TEST(SelectiveScanBackward, AgreesWithTheReference) {
  for (const int64_t channels : {1, 16, 48, 100, 768}) {
    for (const int64_t states : {1, 5, 16, 33}) {
      SCOPED_TRACE(testing::Message() << "E=" << channels << " N=" << states);
      ExpectAgreement(Problem(channels, states));
    }
  }
}

TEST(SelectiveScanBackward, NoBiasIsABiasOfZero) {
  Problem with(100, 5);
  std::fill(with.delta_bias.begin(), with.delta_bias.end(), 0.0f);
  Problem without = with;
  without.delta_bias.clear();
  with.Run(TestContext());
  without.Run(TestContext());
  EXPECT_TRUE(without.GradientsIdentical(with));
  ExpectAgreement(without);
}

// Steps on both sides of softplus's threshold, and decays far outside the range of exp.
TEST(SelectiveScanBackward, LongStepsAgree) {
  Problem p(48, 16);
  for (int64_t t = 0; t < kRaggedRows; ++t) {
    for (int64_t e = 0; e < 48; ++e) p.delta.view().row(t)[e] = p.random.Uniform(-10, 60);
  }
  ExpectAgreement(p);
}

// The states hardly decay, so that every token matters to all later ones.
TEST(SelectiveScanBackward, LongMemoriesAgree) {
  Problem p(48, 16, {{0, 500}}, 500);
  for (float& a : p.a) a *= 1e-3f;
  ExpectAgreement(p, 1e-4);
}

// Far below zero, steps vanish and so do their derivatives.
TEST(SelectiveScanBackward, VanishingStepsLeaveTheSkipConnection) {
  Problem p(48, 16);
  for (int64_t t = 0; t < kRaggedRows; ++t) std::fill_n(p.delta.view().row(t), 48, -1e4f);
  ExpectAgreement(p);
  p.Run(TestContext());
  for (const RowRange& sequence : p.sequences) {
    for (int64_t t = sequence.begin; t < sequence.begin + sequence.length; ++t) {
      for (int64_t e = 0; e < 48; ++e) ASSERT_EQ(p.gdelta.at(t, e), 0) << t;
    }
  }
}

TEST(SelectiveScanBackward, RowsOfNoSequenceStayAsTheyAre) {
  Problem p(100, 5);
  const Problem before = p;
  p.Run(TestContext());
  for (const int64_t t : kRowsOfNone) {
    for (int64_t e = 0; e < 100; ++e) {
      ASSERT_EQ(p.gx.at(t, e), before.gx.at(t, e));
      ASSERT_EQ(p.gdelta.at(t, e), before.gdelta.at(t, e));
      ASSERT_EQ(p.gz.at(t, e), before.gz.at(t, e));
    }
    for (int64_t n = 0; n < 5; ++n) {
      ASSERT_EQ(p.gb.at(t, n), before.gb.at(t, n));
      ASSERT_EQ(p.gc.at(t, n), before.gc.at(t, n));
    }
  }
}

TEST(SelectiveScanBackward, TheNumberOfThreadsDoesNotMatter) {
  for (const int64_t channels : {100, 768}) {
    const Problem problem(channels, 16);
    Problem alone = problem;
    alone.Run(Context());
    for (const int threads : {1, 2, 3}) {
      const CpuContext cpu(threads);
      Problem p = problem;
      p.Run(cpu.context());
      EXPECT_TRUE(Identical(p.kept, alone.kept)) << threads;
      EXPECT_TRUE(p.GradientsIdentical(alone)) << threads;
    }
  }
}

TEST(SelectiveScanBackward, ASequenceIsTheSameAmongOthers) {
  Problem p(100, 16);
  Problem apart = p;
  p.Run(TestContext());
  for (const RowRange& sequence : p.sequences) {
    apart.sequences = {sequence};
    apart.Run(TestContext());
  }
  EXPECT_TRUE(apart.GradientsIdentical(p));
}

TEST(SelectiveScanBackward, UnwantedGradientsDoNotMatter) {
  Problem p(100, 5);
  Problem unwanted = p;
  p.Run(TestContext());
  const Problem before = unwanted;
  SelectiveScanGradients gradients = unwanted.Gradients();
  gradients.delta_bias = gradients.a = gradients.d = nullptr;
  SelectiveScanBackward(TestContext(), unwanted.sequences, unwanted.Operands(), p.kept.data(),
                        unwanted.g.view(), gradients);
  EXPECT_TRUE(unwanted.gx.Identical(p.gx));
  EXPECT_TRUE(unwanted.gdelta.Identical(p.gdelta));
  EXPECT_TRUE(unwanted.gb.Identical(p.gb));
  EXPECT_TRUE(unwanted.gc.Identical(p.gc));
  EXPECT_TRUE(unwanted.gz.Identical(p.gz));
  EXPECT_TRUE(Identical(unwanted.ga, before.ga));
}

// The sums over channels, gb and gc, have the NaN of any channel. All else stays in its channel.
TEST(SelectiveScanBackward, ANanStaysInItsChannelAndSequence) {
  for (const int64_t channel : {3, 70}) {
    Problem p(80, 16, {{0, 70}, {70, 5}}, 75);
    Problem undisturbed = p;
    undisturbed.Run(TestContext());
    p.delta.view().row(10)[channel] = std::numeric_limits<float>::quiet_NaN();
    p.Run(TestContext());
    for (int64_t t = 0; t < 75; ++t) {
      for (int64_t e = 0; e < 80; ++e) {
        if (t < 70 && e == channel) continue;
        ASSERT_EQ(p.gx.at(t, e), undisturbed.gx.at(t, e)) << t;
      }
      EXPECT_EQ(std::isnan(p.gx.at(t, channel)), t <= 10) << t;
      EXPECT_EQ(std::isnan(p.gz.at(t, channel)), t >= 10 && t < 70) << t;
      EXPECT_EQ(std::isnan(p.gb.at(t, 0)), t <= 10) << t;
      EXPECT_EQ(std::isnan(p.gc.at(t, 0)), t >= 10 && t < 70) << t;
    }
  }
}

TEST(SelectiveScanBackward, NoSequences) {
  Problem p(16, 4, {}, 3);
  const Problem before = p;
  p.Run(TestContext());
  EXPECT_TRUE(p.GradientsIdentical(before));
}

}  // namespace
}  // namespace whipsnake::kernels
