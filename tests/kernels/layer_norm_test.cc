#include "kernels/layer_norm/layer_norm.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/compression/compression.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/row_quantization/row_quantization.h"
#include "tests/kernels/central_difference.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kWidths[] = {1, 7, 16, 31, 48, 768, 1000};

struct Operands {
  TestMatrix h, r;
  std::vector<float> gamma, beta;

  Operands(int64_t rows, int64_t cols, Random& random)
      : h(rows, cols, random, -1, 2),
        r(rows, cols, random, -3, 4),
        gamma(random.Vector(cols, -2, 2)),
        beta(random.Vector(cols, -1, 1)) {}
  LayerNormWeights weights() const { return {gamma.data(), beta.data(), 1e-5f}; }
};

TEST(ResidualLayerNormTest, AgreesWithTheReference) {
  Random random(1);
  for (const int64_t cols : kWidths) {
    for (const bool adds : {true, false}) {
      Operands o(9, cols, random);
      TestMatrix r = o.r, want_r = o.r, y(9, cols), want(9, cols);
      const MatrixView<const float> h = adds ? o.h.view() : MatrixView<float>();
      ResidualLayerNorm(TestContext(), h, r.view(), o.weights(), y.view());
      reference::ResidualLayerNorm(h, want_r.view(), o.weights(), want.view());
      EXPECT_TRUE(r.Identical(want_r)) << cols;
      EXPECT_TRUE(y.GapsIntact());
      for (int64_t t = 0; t < 9; ++t) {
        for (int64_t i = 0; i < cols; ++i) {
          // If a row hardly varies, normalization amplifies the rounding error of its mean.
          EXPECT_NEAR(y.at(t, i), want.at(t, i), cols == 1 ? 1e-3 : 1e-5) << cols;
        }
      }
    }
  }
}

TEST(ResidualLayerNormTest, ARowIsTheSameAmongOthersAndInPlaceOfTheAddend) {
  Random random(2);
  for (const int64_t cols : kWidths) {
    Operands o(70, cols, random);
    TestMatrix r = o.r, y(70, cols);
    ResidualLayerNorm(TestContext(), o.h.view(), r.view(), o.weights(), y.view());
    TestMatrix alone_r = o.r, alone(70, cols);
    for (int64_t t = 0; t < 70; ++t) {
      ResidualLayerNorm(TestContext(), o.h.view().Rows(t, 1), alone_r.view().Rows(t, 1),
                        o.weights(), alone.view().Rows(t, 1));
    }
    EXPECT_TRUE(y.Identical(alone));
    TestMatrix in_place_r = o.r;
    ResidualLayerNorm(TestContext(), o.h.view(), in_place_r.view(), o.weights(), o.h.view());
    EXPECT_TRUE(y.Identical(o.h));
  }
}

// An offset common to all columns is removed without losing precision in the rest.
TEST(ResidualLayerNormTest, IsBlindToAShift) {
  Random random(3);
  Operands o(2, 768, random);
  TestMatrix shifted = o.r;
  for (int64_t t = 0; t < 2; ++t) {
    for (int64_t i = 0; i < 768; ++i) shifted.view().row(t)[i] += 1024;
  }
  TestMatrix y(2, 768), y_shifted(2, 768);
  ResidualLayerNorm(TestContext(), {}, o.r.view(), o.weights(), y.view());
  ResidualLayerNorm(TestContext(), {}, shifted.view(), o.weights(), y_shifted.view());
  for (int64_t i = 0; i < 768; ++i) EXPECT_NEAR(y.at(1, i), y_shifted.at(1, i), 1e-3);
}

TEST(ResidualLayerNormTest, CodesAreThoseOfTheFloats) {
  Random random(4);
  for (const int64_t cols : kWidths) {
    Operands o(33, cols, random);
    TestMatrix r = o.r, y(33, cols);
    ResidualLayerNorm(TestContext(), o.h.view(), r.view(), o.weights(), y.view());
    TestCodes codes(33, cols), want(33, cols);
    std::vector<float> scale(33), want_scale(33);

    TestMatrix own_r = o.r;
    ResidualLayerNorm(TestContext(), o.h.view(), own_r.view(), o.weights(), codes.view(),
                      scale.data());
    QuantizeRows(TestContext(), y.view(), want.view(), want_scale.data());
    EXPECT_TRUE(codes.Identical(want)) << cols;
    EXPECT_TRUE(Identical(scale, want_scale));
    EXPECT_TRUE(own_r.Identical(r));

    // Dividing γ and β by a power of two divides the outputs by it exactly.
    constexpr float kScale = 0x1p-5f;
    for (float& v : o.gamma) v /= kScale;
    for (float& v : o.beta) v /= kScale;
    TestMatrix static_r = o.r;
    ResidualLayerNorm(TestContext(), o.h.view(), static_r.view(), o.weights(), codes.view());
    QuantizeRows(TestContext(), y.view(), 1 / kScale, want.view());
    EXPECT_TRUE(codes.Identical(want)) << cols;
    EXPECT_TRUE(codes.GapsIntact());
  }
}

// The operands of the backward pass, and gradients that hold something already.
struct BackwardProblem {
  TestMatrix x, g, gx;
  std::vector<float> gamma, beta, ggamma, gbeta;

  BackwardProblem(int64_t rows, int64_t cols, Random& random)
      : x(rows, cols, random, -3, 4),
        g(rows, cols, random, -1, 1),
        gx(rows, cols, random, -1, 1),
        gamma(random.Vector(cols, -2, 2)),
        beta(random.Vector(cols, -1, 1)),
        ggamma(random.Vector(cols, -1, 1)),
        gbeta(random.Vector(cols, -1, 1)) {}

  LayerNormWeights weights() const { return {gamma.data(), beta.data(), 1e-5f}; }
  LayerNormGradients gradients() { return {gx.view(), ggamma.data(), gbeta.data()}; }
  void Run(const Context& context) {
    LayerNormBackward(context, x.view(), weights(), g.view(), gradients());
  }
  void RunReference() { reference::LayerNormBackward(x.view(), weights(), g.view(), gradients()); }
};

// Σ g ∘ y of one row in fp64.
double Loss(const std::vector<double>& x, const std::vector<double>& gamma,
            const std::vector<double>& beta, const float* g) {
  double mean = 0, variance = 0, loss = 0;
  for (const double v : x) mean += v / x.size();
  for (const double v : x) variance += (v - mean) * (v - mean) / x.size();
  for (size_t i = 0; i < x.size(); ++i) {
    loss += g[i] * (gamma[i] * (x[i] - mean) / std::sqrt(variance + 1e-5f) + beta[i]);
  }
  return loss;
}

TEST(LayerNormBackwardTest, TheReferenceHasTheDerivativesOfTheFormula) {
  Random random(5);
  for (const int64_t cols : {1, 2, 7, 48}) {
    BackwardProblem p(1, cols, random);
    BackwardProblem before = p;
    p.RunReference();
    const float* row = p.x.view().row(0);
    std::vector<double> x(row, row + cols), gamma(p.gamma.begin(), p.gamma.end()),
        beta(p.beta.begin(), p.beta.end());
    const auto loss = [&] { return Loss(x, gamma, beta, p.g.view().row(0)); };
    const std::vector<double> dx = CentralDifferences(x, loss),
                              dgamma = CentralDifferences(gamma, loss),
                              dbeta = CentralDifferences(beta, loss);
    for (int64_t i = 0; i < cols; ++i) {
      EXPECT_NEAR(p.gx.at(0, i) - before.gx.at(0, i), dx[i], 1e-6) << cols;
      EXPECT_NEAR(p.ggamma[i] - before.ggamma[i], dgamma[i], 1e-6) << cols;
      EXPECT_NEAR(p.gbeta[i] - before.gbeta[i], dbeta[i], 1e-6) << cols;
    }
  }
}

TEST(LayerNormBackwardTest, AgreesWithTheReference) {
  Random random(6);
  for (const int64_t cols : kWidths) {
    for (const int64_t rows : {1, 2, 63, 64, 65, 200}) {
      SCOPED_TRACE(testing::Message() << "T=" << rows << " D=" << cols);
      BackwardProblem p(rows, cols, random);
      BackwardProblem want = p;
      p.Run(TestContext());
      want.RunReference();
      EXPECT_TRUE(p.gx.GapsIntact());
      for (int64_t i = 0; i < cols; ++i) {
        for (int64_t t = 0; t < rows; ++t) ASSERT_NEAR(p.gx.at(t, i), want.gx.at(t, i), 1e-5);
        ASSERT_NEAR(p.ggamma[i], want.ggamma[i], 2e-5);
        ASSERT_NEAR(p.gbeta[i], want.gbeta[i], 2e-5);
      }
    }
  }
}

TEST(LayerNormBackwardTest, TheNumberOfThreadsDoesNotMatter) {
  Random random(7);
  const BackwardProblem problem(300, 768, random);
  BackwardProblem alone = problem;
  alone.Run(Context());
  for (const int threads : {1, 2, 3}) {
    const CpuContext cpu(threads);
    BackwardProblem p = problem;
    p.Run(cpu.context());
    EXPECT_TRUE(p.gx.Identical(alone.gx)) << threads;
    EXPECT_TRUE(Identical(p.ggamma, alone.ggamma)) << threads;
    EXPECT_TRUE(Identical(p.gbeta, alone.gbeta)) << threads;
  }
}

TEST(LayerNormBackwardTest, ARowIsTheSameAmongOthers) {
  Random random(8);
  for (const int64_t cols : kWidths) {
    BackwardProblem p(70, cols, random);
    TestMatrix alone = p.gx;
    for (int64_t t = 0; t < 70; ++t) {
      LayerNormBackward(TestContext(), p.x.view().Rows(t, 1), p.weights(), p.g.view().Rows(t, 1),
                        {.x = alone.view().Rows(t, 1)});
    }
    p.Run(TestContext());
    EXPECT_TRUE(p.gx.Identical(alone));
  }
}

TEST(LayerNormBackwardTest, UnwantedGradientsDoNotMatter) {
  Random random(9);
  BackwardProblem both(100, 48, random);
  BackwardProblem only_gamma = both, only_beta = both;
  both.Run(TestContext());
  LayerNormBackward(TestContext(), only_gamma.x.view(), only_gamma.weights(), only_gamma.g.view(),
                    {only_gamma.gx.view(), only_gamma.ggamma.data(), nullptr});
  LayerNormBackward(TestContext(), only_beta.x.view(), only_beta.weights(), only_beta.g.view(),
                    {only_beta.gx.view(), nullptr, only_beta.gbeta.data()});
  EXPECT_TRUE(only_gamma.gx.Identical(both.gx));
  EXPECT_TRUE(only_beta.gx.Identical(both.gx));
  EXPECT_TRUE(Identical(only_gamma.ggamma, both.ggamma));
  EXPECT_TRUE(Identical(only_beta.gbeta, both.gbeta));
}

// The mean of x is large and its deviations small.
TEST(LayerNormBackwardTest, IsBlindToAShift) {
  Random random(10);
  BackwardProblem p(2, 768, random);
  BackwardProblem shifted = p;
  for (int64_t t = 0; t < 2; ++t) {
    for (int64_t i = 0; i < 768; ++i) shifted.x.view().row(t)[i] += 1024;
  }
  p.Run(TestContext());
  shifted.Run(TestContext());
  for (int64_t i = 0; i < 768; ++i) EXPECT_NEAR(p.gx.at(1, i), shifted.gx.at(1, i), 1e-3);
}

TEST(LayerNormBackwardTest, ANanStaysInItsRow) {
  Random random(11);
  BackwardProblem p(3, 50, random);
  p.x.view().row(1)[49] = std::numeric_limits<float>::quiet_NaN();
  p.Run(TestContext());
  for (int64_t t = 0; t < 3; ++t) {
    for (int64_t i = 0; i < 50; ++i) EXPECT_EQ(std::isnan(p.gx.at(t, i)), t == 1) << t;
  }
}

TEST(LayerNormBackwardTest, NoRows) {
  Random random(12);
  BackwardProblem p(0, 16, random);
  const BackwardProblem before = p;
  p.Run(TestContext());
  EXPECT_TRUE(Identical(p.ggamma, before.ggamma));
  EXPECT_TRUE(Identical(p.gbeta, before.gbeta));
}

// x̂ and rstd of a matrix.
struct Normalized {
  TestMatrix normal;
  std::vector<float> rstd;

  Normalized(int64_t rows, int64_t cols) : normal(rows, cols), rstd(rows) {}
  void Run(const Context& context, const TestMatrix& x) {
    LayerNormalize(context, x.view(), 1e-5f, normal.view(), rstd.data());
  }
  void Backward(const Context& context, BackwardProblem& p) const {
    NormalizedLayerNormBackward(context, normal.view(), rstd.data(), p.gamma.data(), p.g.view(),
                                p.gradients());
  }
};

TEST(LayerNormalizeTest, IsTheNormWithoutWeights) {
  Random random(13);
  for (const int64_t cols : kWidths) {
    TestMatrix x(9, cols, random, -3, 4), y(9, cols);
    const std::vector<float> ones(cols, 1.0f), zeros(cols, 0.0f);
    Normalized actual(9, cols), want(9, cols);
    actual.Run(TestContext(), x);
    reference::LayerNormalize(x.view(), 1e-5f, want.normal.view(), want.rstd.data());
    EXPECT_TRUE(actual.normal.GapsIntact());
    for (int64_t t = 0; t < 9; ++t) {
      EXPECT_NEAR(actual.rstd[t] / want.rstd[t], 1, 1e-6) << cols;
      for (int64_t i = 0; i < cols; ++i) {
        EXPECT_NEAR(actual.normal.at(t, i), want.normal.at(t, i), cols == 1 ? 1e-3 : 4e-6) << cols;
      }
    }
    ResidualLayerNorm(TestContext(), {}, x.view(), {ones.data(), zeros.data(), 1e-5f}, y.view());
    for (int64_t t = 0; t < 9; ++t) {
      for (int64_t i = 0; i < cols; ++i) EXPECT_EQ(actual.normal.at(t, i), y.at(t, i));
    }
    LayerNormalize(TestContext(), x.view(), 1e-5f, x.view(), actual.rstd.data());
    EXPECT_TRUE(x.Identical(actual.normal)) << "in place";
  }
}

TEST(NormalizedLayerNormBackwardTest, EqualsTheBackwardPassIfNothingIsLost) {
  Random random(14);
  for (const int64_t cols : kWidths) {
    SCOPED_TRACE(cols);
    BackwardProblem p(70, cols, random);
    BackwardProblem want = p;
    Normalized stored(70, cols);
    stored.Run(TestContext(), p.x);
    stored.Backward(TestContext(), p);
    want.Run(TestContext());
    EXPECT_TRUE(p.gx.GapsIntact());
    EXPECT_TRUE(Identical(p.gbeta, want.gbeta));
    for (int64_t i = 0; i < cols; ++i) {
      for (int64_t t = 0; t < 70; ++t) ASSERT_NEAR(p.gx.at(t, i), want.gx.at(t, i), 1e-5);
      ASSERT_NEAR(p.ggamma[i], want.ggamma[i], 2e-5);
    }
  }
}

// Prunes x̂ to the fraction of its elements with the largest magnitudes.
void Prune(double fraction, TestMatrix& normal) {
  const MatrixView<float> view = normal.view();
  const int64_t k = KeptElements(fraction, view.rows, view.cols);
  std::vector<int32_t> indices(k);
  std::vector<float> values(k);
  kernels::Prune(TestContext(), view, k, indices.data(), values.data());
  Unprune(TestContext(), indices.data(), values.data(), k, view);
}

double Cosine(const TestMatrix& a, const TestMatrix& b) {
  double ab = 0, aa = 0, bb = 0;
  for (int64_t t = 0; t < a.view().rows; ++t) {
    for (int64_t i = 0; i < a.view().cols; ++i) {
      ab += double{a.at(t, i)} * b.at(t, i);
      aa += double{a.at(t, i)} * a.at(t, i);
      bb += double{b.at(t, i)} * b.at(t, i);
    }
  }
  return ab / std::sqrt(aa * bb);
}

TEST(NormalizedLayerNormBackwardTest, PruningToAllIsExactAndToATenthNearlySo) {
  Random random(18);
  BackwardProblem exact(70, 768, random);
  exact.gx = TestMatrix(70, 768, random, 0, 0);
  BackwardProblem all = exact, tenth = exact, want = exact;
  Normalized stored(70, 768);
  stored.Run(TestContext(), exact.x);
  stored.Backward(TestContext(), exact);
  Prune(1, stored.normal);
  stored.Backward(TestContext(), all);
  EXPECT_TRUE(all.gx.Identical(exact.gx));
  EXPECT_TRUE(Identical(all.ggamma, exact.ggamma));
  EXPECT_TRUE(Identical(all.gbeta, exact.gbeta));
  Prune(0.1, stored.normal);
  stored.Backward(TestContext(), tenth);
  want.Run(TestContext());
  const double cosine = Cosine(tenth.gx, want.gx);
  RecordProperty("cosine_of_a_tenth", std::to_string(cosine));
  EXPECT_GT(cosine, 0.99);
  EXPECT_TRUE(Identical(tenth.gbeta, want.gbeta));
}

// Any numbers may stand for x̂ and rstd, as they do after compression.
TEST(NormalizedLayerNormBackwardTest, AgreesWithTheReference) {
  Random random(15);
  for (const int64_t cols : kWidths) {
    for (const int64_t rows : {0, 1, 2, 63, 64, 65, 200}) {
      SCOPED_TRACE(testing::Message() << "T=" << rows << " D=" << cols);
      BackwardProblem p(rows, cols, random);
      BackwardProblem want = p;
      Normalized stored(rows, cols);
      stored.normal = TestMatrix(rows, cols, random, -2, 2);
      stored.rstd = random.Vector(rows, 0.1f, 2);
      stored.Backward(TestContext(), p);
      reference::NormalizedLayerNormBackward(stored.normal.view(), stored.rstd.data(),
                                             want.gamma.data(), want.g.view(), want.gradients());
      EXPECT_TRUE(p.gx.GapsIntact());
      for (int64_t i = 0; i < cols; ++i) {
        for (int64_t t = 0; t < rows; ++t) ASSERT_NEAR(p.gx.at(t, i), want.gx.at(t, i), 1e-5);
        ASSERT_NEAR(p.ggamma[i], want.ggamma[i], 5e-5);
        ASSERT_NEAR(p.gbeta[i], want.gbeta[i], 2e-5);
      }
    }
  }
}

TEST(NormalizedLayerNormBackwardTest, TheNumberOfThreadsDoesNotMatter) {
  Random random(16);
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
    EXPECT_TRUE(Identical(p.gbeta, alone.gbeta)) << threads;
  }
}

TEST(NormalizedLayerNormBackwardTest, ANanStaysInItsRow) {
  Random random(17);
  BackwardProblem p(3, 50, random);
  p.x.view().row(1)[49] = std::numeric_limits<float>::quiet_NaN();
  Normalized stored(3, 50);
  stored.Run(TestContext(), p.x);
  stored.Backward(TestContext(), p);
  for (int64_t t = 0; t < 3; ++t) {
    for (int64_t i = 0; i < 50; ++i) EXPECT_EQ(std::isnan(p.gx.at(t, i)), t == 1) << t;
  }
}

}  // namespace
}  // namespace whipsnake::kernels
