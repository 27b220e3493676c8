#include "kernels/hadamard/hadamard.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Each factor (1, 12 and 40) times 2^k, below, at and above every vector length, and the widths of
// the models.
const int64_t kOrders[] = {1,  2,   4,   8,  16, 32,  64,  128, 256,  1024, 4096, 12,   24,   48,
                           96, 192, 384, 40, 80, 160, 320, 640, 1280, 768,  1536, 3072, 2560, 5120};

TEST(HasHadamard, HoldsForTheRuleAlone) {
  for (const int64_t n : kOrders) EXPECT_TRUE(HasHadamard(n)) << n;
  for (const int64_t n : {3, 6, 10, 20, 28, 36, 60, 100, 120, 1000, 1537, 5000, 480}) {
    EXPECT_FALSE(HasHadamard(n)) << n;
  }
}

// Row i of H as sign bits, so that all pairs of rows can be multiplied quickly.
std::vector<uint64_t> BitsOfRow(int64_t n, int64_t i) {
  std::vector<uint64_t> bits((n + 63) / 64);
  for (int64_t j = 0; j < n; ++j) {
    const float entry = reference::HadamardEntry(n, i, j);
    if (std::abs(entry) != 1) ADD_FAILURE() << entry << " at " << i << ", " << j << " of " << n;
    if (entry < 0) bits[j / 64] |= uint64_t{1} << j % 64;
  }
  return bits;
}

TEST(HadamardEntry, RowsAreOrthogonal) {
  for (const int64_t n : kOrders) {
    std::vector<std::vector<uint64_t>> rows;
    for (int64_t i = 0; i < n; ++i) rows.push_back(BitsOfRow(n, i));
    const int64_t step = std::max<int64_t>(1, n / 100);
    for (int64_t i = 0; i < n; i += step) {
      for (int64_t j = 0; j < n; ++j) {
        int64_t unequal = 0;
        for (size_t w = 0; w < rows[i].size(); ++w) {
          unequal += std::popcount(rows[i][w] ^ rows[j][w]);
        }
        if (n - 2 * unequal != (i == j ? n : 0)) FAIL() << "rows " << i << ", " << j << " of " << n;
      }
    }
  }
}

// For a symmetric matrix a transposed implementation would pass, so one factor must not be
// symmetric.
TEST(HadamardEntry, OnlyTheFactorOfOrder40IsNotSymmetric) {
  for (const int64_t n : {64, 96, 80}) {
    bool symmetric = true;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < i; ++j) {
        symmetric &= reference::HadamardEntry(n, i, j) == reference::HadamardEntry(n, j, i);
      }
    }
    EXPECT_EQ(symmetric, n != 80) << n;
  }
}

class HadamardTest : public testing::TestWithParam<int64_t> {
 protected:
  int64_t n() const { return GetParam(); }
  // The scale of a rotation: the transform then preserves lengths.
  float scale() const { return 1 / std::sqrt(static_cast<float>(n())); }
};

INSTANTIATE_TEST_SUITE_P(Orders, HadamardTest, testing::ValuesIn(kOrders));

// The transform maps unit vector j to column j of H, exactly in fp32.
TEST_P(HadamardTest, EntriesAreThoseOfTheDefinition) {
  const int64_t step = n() > 1000 ? 7 : 1;
  for (int64_t j = 0; j < n(); j += step) {
    std::vector<float> x(n()), y(n());
    x[j] = 3;
    Hadamard(TestContext(), MatrixView<const float>(x.data(), 1, n()), 0.5f,
             MatrixView<float>(y.data(), 1, n()));
    for (int64_t i = 0; i < n(); ++i) {
      ASSERT_EQ(y[i], 1.5f * reference::HadamardEntry(n(), i, j)) << i << ", " << j;
    }
  }
}

TEST_P(HadamardTest, AgreesWithTheDenseProduct) {
  Random random(n());
  const TestMatrix x(2, n(), random, -2, 2);
  TestMatrix y(2, n()), expected(2, n());
  Hadamard(TestContext(), x.view(), scale(), y.view());
  reference::Hadamard(x.view(), scale(), expected.view());
  for (int64_t t = 0; t < 2; ++t) {
    const float* row = expected.view().row(t);
    const float largest = std::abs(*std::max_element(
        row, row + n(), [](float a, float b) { return std::abs(a) < std::abs(b); }));
    for (int64_t i = 0; i < n(); ++i) ASSERT_NEAR(y.at(t, i), row[i], 1e-6 * largest) << i;
  }
  EXPECT_TRUE(y.GapsIntact());
}

TEST_P(HadamardTest, TheTransposeUndoesIt) {
  Random random(n());
  const TestMatrix x(1, n(), random, -2, 2);
  TestMatrix y(1, n());
  Hadamard(TestContext(), x.view(), scale(), y.view());
  double error = 0, length = 0;
  for (int64_t j = 0; j < n(); ++j) {
    double sum = 0;
    for (int64_t i = 0; i < n(); ++i) {
      sum += double{reference::HadamardEntry(n(), i, j)} * y.at(0, i);
    }
    const double back = sum / std::sqrt(static_cast<double>(n()));
    error += (back - x.at(0, j)) * (back - x.at(0, j));
    length += x.at(0, j) * x.at(0, j);
  }
  EXPECT_LE(std::sqrt(error / length), 1e-6);
}

TEST_P(HadamardTest, CodesAreThoseOfTheFloatForm) {
  Random random(n());
  const TestMatrix x(3, n(), random, -2, 2);
  for (const float magnitude : {50.0f, 500.0f, 5e12f}) {  // in codes: most fit; most saturate; all
    TestMatrix floats(3, n());
    TestCodes codes(3, n());
    Hadamard(TestContext(), x.view(), magnitude * scale(), floats.view());
    Hadamard(TestContext(), x.view(), magnitude * scale(), codes.view());
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t i = 0; i < n(); ++i) {
        const float value = floats.at(t, i);
        ASSERT_EQ(codes.at(t, i), ToCode(value)) << "row " << t << ", element " << i;
        ASSERT_EQ(codes.at(t, i) < 0, value < -0.5f);  // never wraps
      }
    }
    EXPECT_TRUE(codes.GapsIntact());
  }
}

TEST_P(HadamardTest, ANanBecomesZerosAndStaysInItsRow) {
  Random random(n());
  TestMatrix x(3, n(), random, 1, 2);
  x.view().row(1)[n() / 2] = std::nanf("");
  TestCodes codes(3, n());
  Hadamard(TestContext(), x.view(), 100.0f, codes.view());
  for (int64_t t = 0; t < 3; ++t) {
    const int8_t* row = codes.view().row(t);
    EXPECT_EQ(std::count(row, row + n(), 0) == n(), t == 1) << "row " << t;
  }
}

TEST_P(HadamardTest, ARowsBitsDependOnTheRowAlone) {
  Random random(n());
  const int64_t rows = 100000 / n() % 100 + 5;
  const TestMatrix x(rows, n(), random, -2, 2);
  TestMatrix batch(rows, n()), one_thread(rows, n()), alone(rows, n()), in_place = x;
  Hadamard(TestContext(), x.view(), scale(), batch.view());
  Hadamard(TestContext(), in_place.view(), scale(), in_place.view());
  for (int64_t t = 0; t < rows; ++t) {
    Hadamard(TestContext(), x.view().Rows(t, 1), scale(), alone.view().Rows(t, 1));
  }
  Hadamard(Context(), x.view(), scale(), one_thread.view());
  EXPECT_TRUE(alone.Identical(batch));
  EXPECT_TRUE(one_thread.Identical(batch));
  EXPECT_TRUE(in_place.Identical(batch));
}

TEST(HadamardTest, NoRows) {
  Hadamard(TestContext(), MatrixView<const float>(nullptr, 0, 1536), 1,
           MatrixView<float>(nullptr, 0, 1536));
  Hadamard(TestContext(), MatrixView<const float>(nullptr, 0, 1536), 1,
           MatrixView<int8_t>(nullptr, 0, 1536));
}

// Every midpoint between two codes with its fp32 neighbours, extreme values, infinities, NaN, and
// values of many bit patterns.
std::vector<float> AwkwardValues() {
  std::vector<float> values = {0.0f,   -0.0f,     1e-45f,     3e9f,          -3e9f,          1e38f,
                               -1e38f, kInfinity, -kInfinity, std::nanf(""), -std::nanf("1")};
  for (int half = -300; half <= 300; ++half) {
    const float value = static_cast<float>(half) / 2;
    values.push_back(value);
    values.push_back(std::nextafter(value, -kInfinity));
    values.push_back(std::nextafter(value, kInfinity));
  }
  for (uint32_t high = 0; high < 0x10000; high += 3) {
    values.push_back(std::bit_cast<float>(high << 16 | (high * 40503u & 0xffffu)));
  }
  return values;
}

TEST(QuantizeTest, IsToCodeForEveryValueInEveryLane) {
  const std::vector<float> values = AwkwardValues();
  const std::vector<float> ones(values.size(), 1.0f);
  for (int64_t shift = 0; shift < 17; ++shift) {
    const auto n = static_cast<int64_t>(values.size()) - shift;
    const MatrixView<const float> x(values.data() + shift, 1, n);
    std::vector<int8_t> codes(n);
    Quantize(TestContext(), x, ones.data(), {codes.data(), 1, n});
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(codes[i], ToCode(x.data[i])) << x.data[i];
  }
}

TEST(QuantizeTest, EqualsTheReference) {
  Random random(3);
  for (const int64_t n : {1, 2, 7, 15, 16, 17, 33, 768, 5120}) {
    for (const int64_t t : {0, 1, 4, 50}) {
      const TestMatrix x(t, n, random, -2, 2);
      const std::vector<float> multiplier = random.Vector(n, 0, 90);
      TestCodes codes(t, n), expected(t, n);
      Quantize(TestContext(), x.view(), multiplier.data(), codes.view());
      reference::Quantize(x.view(), multiplier.data(), expected.view());
      EXPECT_TRUE(codes.Identical(expected)) << "T=" << t << " n=" << n;
    }
  }
}

}  // namespace
}  // namespace whipsnake::kernels
