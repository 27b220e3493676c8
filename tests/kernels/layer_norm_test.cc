#include "kernels/layer_norm/layer_norm.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/row_quantization/row_quantization.h"
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

}  // namespace
}  // namespace whipsnake::kernels
