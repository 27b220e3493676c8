#include "kernels/product/product.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

using TestHalves = BasicTestMatrix<uint16_t>;

// An operand with gaps between its rows in memory, as fp32 and rounded to bf16.
class Operand {
 public:
  // rows and cols are those after transposition.
  Operand(int64_t rows, int64_t cols, bool transposed, Random& random)
      : transposed_(transposed),
        floats_(transposed ? cols : rows, transposed ? rows : cols, random, -1, 1),
        halves_(floats_.view().rows, floats_.view().cols) {
    Round();
  }
  void Set(int64_t row, int64_t col, float value) {
    floats_.view().row(transposed_ ? col : row)[transposed_ ? row : col] = value;
    Round();
  }
  ProductOperand Floats() const { return {std::as_const(floats_).view(), transposed_}; }
  ProductOperand Halves() const { return {std::as_const(halves_).view(), transposed_}; }

 private:
  void Round() {
    for (int64_t r = 0; r < floats_.view().rows; ++r) {
      for (int64_t c = 0; c < floats_.view().cols; ++c) {
        halves_.view().row(r)[c] = ToBF16(floats_.at(r, c));
      }
    }
  }

  bool transposed_;
  TestMatrix floats_;
  TestHalves halves_;
};

struct Form {
  bool transposed_a, transposed_b, accumulate, biased;
};

std::vector<Form> AllForms() {
  std::vector<Form> forms;
  for (const bool a : {false, true}) {
    for (const bool b : {false, true}) {
      forms.insert(forms.end(), {{a, b, false, false}, {a, b, false, true}, {a, b, true, false}});
    }
  }
  return forms;
}

// The error of a sum of K products of either sign grows like a random walk.
double Tolerance(int64_t terms) { return 1e-6 * (4 + std::sqrt(terms)); }

void ExpectNear(const TestMatrix& c, const TestMatrix& want, int64_t terms) {
  EXPECT_TRUE(c.GapsIntact());
  for (int64_t m = 0; m < c.view().rows; ++m) {
    for (int64_t n = 0; n < c.view().cols; ++n) {
      ASSERT_NEAR(c.at(m, n), want.at(m, n), Tolerance(terms)) << m << " " << n;
    }
  }
}

void ExpectEqualsReference(int64_t m, int64_t n, int64_t k, const Form& form, Random& random) {
  SCOPED_TRACE(testing::Message() << "M=" << m << " N=" << n << " K=" << k << " "
                                  << form.transposed_a << form.transposed_b << form.accumulate
                                  << form.biased);
  const Operand a(m, k, form.transposed_a, random), b(k, n, form.transposed_b, random);
  const std::vector<float> bias = random.Vector(n, -1, 1);
  const TestMatrix start(m, n, random, -1, 1);
  const auto expect = [&](DType arithmetic, const ProductOperand& left,
                          const ProductOperand& right) {
    TestMatrix c = start, want = start;
    ProductOperands operands{left, right, form.biased ? bias.data() : nullptr, form.accumulate,
                             c.view()};
    Product(TestContext(), arithmetic, operands);
    operands.c = want.view();
    reference::Product(arithmetic, operands);
    ExpectNear(c, want, k);
  };
  expect(DType::kF32, a.Floats(), b.Floats());
  expect(DType::kBF16, a.Halves(), b.Halves());
  expect(DType::kBF16, a.Floats(), b.Halves());
  expect(DType::kBF16, a.Halves(), b.Floats());
}

TEST(ProductTest, EqualsReferenceForAwkwardSizes) {
  Random random(1);
  for (const Form& form : AllForms()) {
    for (const int64_t m : {1, 7, 16, 33}) {
      for (const int64_t n : {1, 15, 32, 48}) {
        for (const int64_t k : {1, 2, 16, 31, 33, 100}) {
          ExpectEqualsReference(m, n, k, form, random);
        }
      }
    }
  }
}

// More than one block of rows and of columns, and more terms than are summed at a time.
TEST(ProductTest, EqualsReferenceForManyTermsAndBlocks) {
  Random random(2);
  for (const Form& form : AllForms()) {
    ExpectEqualsReference(5, 40, 2500, form, random);
    ExpectEqualsReference(140, 530, 40, form, random);
  }
}

// More lines of one operand, or more terms, than are packed at a time.
TEST(ProductTest, EqualsReferenceForManyRowsColumnsAndTerms) {
  Random random(3);
  for (const bool accumulate : {false, true}) {
    ExpectEqualsReference(4200, 3, 40, {true, false, accumulate, false}, random);
    ExpectEqualsReference(3, 4200, 40, {false, true, accumulate, !accumulate}, random);
    ExpectEqualsReference(2, 3, 200000, {false, true, accumulate, !accumulate}, random);
  }
}

// More lines of both operands than are packed at a time, and sums that bypass the caches. A sum of
// one term is exact.
TEST(ProductTest, ManyRowsTimesManyColumns) {
  Random random(11);
  constexpr int64_t kRows = 4100, kCols = 4144;
  const TestMatrix a(kRows, 1, random, -1, 1), b(1, kCols, random, -1, 1);
  std::vector<float> c(kRows * kCols);
  Product(TestContext(), DType::kF32,
          {.a = a.view(), .b = b.view(), .c = {c.data(), kRows, kCols}});
  for (int64_t m = 0; m < kRows; ++m) {
    for (int64_t n = 0; n < kCols; ++n) {
      if (c[m * kCols + n] != a.at(m, 0) * b.at(0, n)) FAIL() << m << " " << n;
    }
  }
}

TEST(ProductTest, WithoutTermsTheSumsAreZero) {
  Random random(4);
  for (const DType arithmetic : {DType::kF32, DType::kBF16}) {
    const std::vector<float> bias = random.Vector(35, -1, 1);
    const TestMatrix start(3, 35, random, -1, 1);
    const ProductOperand a(MatrixView<const float>(nullptr, 3, 0));
    const ProductOperand b(MatrixView<const float>(nullptr, 0, 35));
    TestMatrix zero = start, biased = start, same = start;
    Product(TestContext(), arithmetic, {.a = a, .b = b, .c = zero.view()});
    Product(TestContext(), arithmetic, {.a = a, .b = b, .bias = bias.data(), .c = biased.view()});
    Product(TestContext(), arithmetic, {.a = a, .b = b, .accumulate = true, .c = same.view()});
    EXPECT_TRUE(same.Identical(start));
    for (int64_t m = 0; m < 3; ++m) {
      for (int64_t n = 0; n < 35; ++n) {
        EXPECT_EQ(zero.at(m, n), 0);
        EXPECT_EQ(biased.at(m, n), bias[n]);
      }
    }
  }
}

TEST(ProductTest, WithoutRowsOrColumnsThereIsNothingToDo) {
  for (const DType arithmetic : {DType::kF32, DType::kBF16}) {
    for (const auto& [m, n] : {std::pair<int64_t, int64_t>{0, 5}, {5, 0}, {0, 0}}) {
      const std::vector<float> values(40, 1.0f);
      Product(TestContext(), arithmetic,
              {.a = MatrixView<const float>(values.data(), m, 8),
               .b = MatrixView<const float>(values.data(), 8, n),
               .c = {nullptr, m, n}});
    }
  }
}

// A value that is not finite reaches its row or its column of c and no other element.
TEST(ProductTest, NotANumberAndInfinityPropagate) {
  Random random(5);
  constexpr int64_t kM = 40, kN = 37, kK = 21;
  for (const DType arithmetic : {DType::kF32, DType::kBF16}) {
    for (const float value :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      for (const Form& form : AllForms()) {
        Operand a(kM, kK, form.transposed_a, random), b(kK, kN, form.transposed_b, random);
        a.Set(33, 20, value);
        b.Set(20, 36, value);
        TestMatrix c(kM, kN);
        Product(TestContext(), arithmetic, {.a = a.Floats(), .b = b.Floats(), .c = c.view()});
        for (int64_t m = 0; m < kM; ++m) {
          for (int64_t n = 0; n < kN; ++n) {
            EXPECT_EQ(std::isfinite(c.at(m, n)), m != 33 && n != 36) << m << " " << n;
            EXPECT_TRUE(!std::isnan(c.at(m, n)) || std::isnan(value));
            if (std::isnan(value)) {
              EXPECT_EQ(std::isnan(c.at(m, n)), m == 33 || n == 36);
            }
          }
        }
      }
    }
  }
}

TEST(ProductTest, TheBitsDoNotDependOnTheNumberOfThreads) {
  Random random(6);
  for (const Form& form : AllForms()) {
    const Operand a(150, 1100, form.transposed_a, random), b(1100, 290, form.transposed_b, random);
    const std::vector<float> bias = random.Vector(290, -1, 1);
    const TestMatrix start(150, 290, random, -1, 1);
    for (const DType arithmetic : {DType::kF32, DType::kBF16}) {
      const auto product = [&](const Context& context) {
        TestMatrix c = start;
        Product(context, arithmetic,
                {a.Floats(), b.Floats(), form.biased ? bias.data() : nullptr, form.accumulate,
                 c.view()});
        return c;
      };
      const TestMatrix alone = product(Context());
      for (const int threads : {1, 2, 3}) {
        const CpuContext cpu(threads);
        EXPECT_TRUE(product(cpu.context()).Identical(alone)) << threads;
      }
    }
  }
}

TEST(ProductTest, OperandsRoundedBeforehandGiveTheSameBits) {
  Random random(7);
  for (const Form& form : AllForms()) {
    const Operand a(70, 90, form.transposed_a, random), b(90, 50, form.transposed_b, random);
    TestMatrix c(70, 50), rounded(70, 50);
    Product(TestContext(), DType::kBF16, {.a = a.Floats(), .b = b.Floats(), .c = c.view()});
    Product(TestContext(), DType::kBF16, {.a = a.Halves(), .b = b.Halves(), .c = rounded.view()});
    EXPECT_TRUE(c.Identical(rounded));
  }
}

// With y = x Wᵀ, the derivative of Σ g ∘ y by W is gᵀ x and by x is g W.
TEST(ProductTest, TheReferenceGivesTheGradientsOfALinearLayer) {
  Random random(8);
  constexpr int64_t kM = 3, kN = 4, kK = 5;
  const TestMatrix x(kM, kK, random, -1, 1), w(kN, kK, random, -1, 1), g(kM, kN, random, -1, 1);
  TestMatrix gx(kM, kK), gw(kN, kK);
  reference::Product(DType::kF32, {.a = g.view(), .b = w.view(), .c = gx.view()});
  reference::Product(DType::kF32, {.a = {g.view(), true}, .b = x.view(), .c = gw.view()});
  const auto objective = [&](int64_t m0, int64_t n0, int64_t k0, double dx, double dw) {
    double sum = 0;
    for (int64_t m = 0; m < kM; ++m) {
      for (int64_t n = 0; n < kN; ++n) {
        for (int64_t k = 0; k < kK; ++k) {
          sum += g.at(m, n) * (x.at(m, k) + (m == m0 && k == k0 ? dx : 0)) *
                 (w.at(n, k) + (n == n0 && k == k0 ? dw : 0));
        }
      }
    }
    return sum;
  };
  constexpr double kStep = 1e-4;
  for (int64_t k = 0; k < kK; ++k) {
    for (int64_t m = 0; m < kM; ++m) {
      const double slope =
          (objective(m, 0, k, kStep, 0) - objective(m, 0, k, -kStep, 0)) / 2 / kStep;
      EXPECT_NEAR(gx.at(m, k), slope, 1e-6);
    }
    for (int64_t n = 0; n < kN; ++n) {
      const double slope =
          (objective(0, n, k, 0, kStep) - objective(0, n, k, 0, -kStep)) / 2 / kStep;
      EXPECT_NEAR(gw.at(n, k), slope, 1e-6);
    }
  }
}

TEST(AddColumnSumsTest, EqualsReferenceAndAdds) {
  Random random(9);
  for (const int64_t rows : {0, 1, 7, 64, 65, 1000}) {
    for (const int64_t cols : {1, 7, 16, 31, 48, 768, 1000}) {
      const TestMatrix g(rows, cols, random, -1, 1);
      std::vector<float> sums = random.Vector(cols, -1, 1), want = sums;
      AddColumnSums(TestContext(), g.view(), sums.data());
      reference::AddColumnSums(g.view(), want.data());
      for (int64_t n = 0; n < cols; ++n) EXPECT_NEAR(sums[n], want[n], Tolerance(rows)) << n;
    }
  }
}

TEST(AddColumnSumsTest, TheBitsDoNotDependOnTheNumberOfThreads) {
  Random random(10);
  const TestMatrix g(1001, 300, random, -1, 1);
  std::vector<float> want(300);
  AddColumnSums(Context(), g.view(), want.data());
  for (const int threads : {2, 3}) {
    const CpuContext cpu(threads);
    std::vector<float> sums(300);
    AddColumnSums(cpu.context(), g.view(), sums.data());
    EXPECT_TRUE(Identical(sums, want));
  }
}

TEST(AddColumnSumsTest, NotANumberReachesItsColumnAlone) {
  TestMatrix g(40, 20);
  for (int64_t m = 0; m < 40; ++m) std::fill_n(g.view().row(m), 20, 1.0f);
  g.view().row(39)[19] = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> sums(20);
  AddColumnSums(TestContext(), g.view(), sums.data());
  for (int64_t n = 0; n < 19; ++n) EXPECT_EQ(sums[n], 40);
  EXPECT_TRUE(std::isnan(sums[19]));
}

}  // namespace
}  // namespace whipsnake::kernels
