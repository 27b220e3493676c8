#include "kernels/matmul/matmul.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "tests/kernels/test_context.h"

namespace whipsnake::kernels {
namespace {

std::vector<float> RandomValues(int64_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

// A weight that ends where readable memory ends, as the last tensor of a mapped file may: reading
// past its end crashes the test.
class Weight {
 public:
  Weight(DType dtype, int64_t n, int64_t k, const std::vector<float>& values)
      : dtype_(dtype), n_(n), k_(k) {
    const int64_t page = sysconf(_SC_PAGESIZE);
    const int64_t bytes = n * WeightFormat(dtype).RowBytes(k);
    const int64_t readable = (bytes + page - 1) / page * page;
    mapped_ = readable + page;
    base_ = static_cast<char*>(
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(base_, MAP_FAILED);
    EXPECT_EQ(mprotect(base_ + readable, page, PROT_NONE), 0);
    data_ = base_ + readable - bytes;
    for (int64_t i = 0; i < n * k; ++i) {
      if (dtype == DType::kBF16) {
        reinterpret_cast<uint16_t*>(data_)[i] = ToBF16(values[i]);
      } else {
        reinterpret_cast<float*>(data_)[i] = values[i];
      }
    }
  }
  ~Weight() { munmap(base_, mapped_); }
  Weight(const Weight&) = delete;

  WeightView view() const { return {data_, dtype_, n_, k_}; }

  float At(int64_t n, int64_t k) const {
    if (dtype_ == DType::kBF16) {
      return FromBF16(reinterpret_cast<const uint16_t*>(data_)[n * k_ + k]);
    }
    return reinterpret_cast<const float*>(data_)[n * k_ + k];
  }

 private:
  DType dtype_;
  int64_t n_, k_;
  char* base_;
  char* data_;
  int64_t mapped_;
};

std::vector<float> Product(const std::vector<float>& x, int64_t m, const Weight& w,
                           const float* bias = nullptr, const Context& context = TestContext()) {
  const WeightView view = w.view();
  std::vector<float> y(m * view.n, -1.0f);
  Matmul(context, {x.data(), m, view.k}, view, bias, {y.data(), m, view.n});
  return y;
}

// A sum of K products of either sign, rounded up to K times: its error grows like a random walk,
// with √K.
double Tolerance(const Weight& w, const float* x, int64_t n) {
  double magnitude = 0;
  for (int64_t k = 0; k < w.view().k; ++k) magnitude += std::abs(double{x[k]} * w.At(n, k));
  return (4 + std::sqrt(w.view().k)) * 0x1p-23 * magnitude + 1e-6;
}

class MatmulTest : public testing::TestWithParam<DType> {};

INSTANTIATE_TEST_SUITE_P(Weights, MatmulTest, testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& test) { return std::string(Name(test.param)); });

void ExpectEqualsReference(DType dtype, int64_t m, int64_t n, int64_t k) {
  SCOPED_TRACE(testing::Message() << "M=" << m << " N=" << n << " K=" << k);
  // Rows of x and y have gaps between them, and the gaps must not be written.
  const int64_t x_stride = k + 5, y_stride = n + 3;
  constexpr float kUntouched = 12345.0f;
  const std::vector<float> x = RandomValues(m * x_stride, 1);
  const std::vector<float> bias = RandomValues(n, 2);
  const Weight w(dtype, n, k, RandomValues(n * k, 3));
  for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
    std::vector<float> y(m * y_stride, kUntouched), expected(m * y_stride, kUntouched);
    Matmul(TestContext(), {x.data(), m, k, x_stride}, w.view(), b, {y.data(), m, n, y_stride});
    reference::Matmul({x.data(), m, k, x_stride}, w.view(), b, {expected.data(), m, n, y_stride});
    for (int64_t i = 0; i < m * y_stride; ++i) {
      const int64_t row = i / y_stride, column = i % y_stride;
      if (column >= n) {
        ASSERT_EQ(y[i], kUntouched) << "row " << row << ", past column " << n;
      } else if (!(std::abs(y[i] - expected[i]) <= Tolerance(w, &x[row * x_stride], column))) {
        FAIL() << "y[" << row << "," << column << "] = " << y[i] << ", expected " << expected[i];
      }
    }
  }
}

TEST_P(MatmulTest, EqualsReferenceForEveryNumberOfRows) {
  for (int64_t m = 0; m <= 17; ++m) {
    for (const int64_t n : {1, 3, 17, 80}) {
      for (const int64_t k : {1, 16, 48, 255}) ExpectEqualsReference(GetParam(), m, n, k);
    }
  }
}

TEST_P(MatmulTest, TheActivationIsThatOfTheSums) {
  const std::vector<float> bias = RandomValues(600, 2);
  for (const int64_t m : {1, 3, 16, 17, 40}) {
    for (const int64_t n : {5, 600}) {
      const std::vector<float> x = RandomValues(m * 300, 1);
      const Weight w(GetParam(), n, 300, RandomValues(n * 300, 3));
      for (const Activation kind : {Activation::kRelu, Activation::kGeluNew, Activation::kCRRelu}) {
        const ActivationFunction f{kind, 0.5f};
        std::vector<float> want = Product(x, m, w, bias.data()), y(m * n);
        Activate(TestContext(), f, want.data(), m * n, want.data());
        Matmul(TestContext(), {x.data(), m, 300}, w.view(), bias.data(), {y.data(), m, n}, f);
        EXPECT_EQ(std::memcmp(y.data(), want.data(), y.size() * sizeof(float)), 0)
            << "M=" << m << " N=" << n;
      }
    }
  }
}

TEST_P(MatmulTest, EqualsReferenceForAwkwardSizes) {
  for (const int64_t m : {1, 2, 5, 17, 33}) {
    for (const int64_t n : {1, 3, 16, 17, 48, 255}) {
      for (const int64_t k : {1, 3, 16, 17, 31, 33, 63, 65, 80, 127}) {
        ExpectEqualsReference(GetParam(), m, n, k);
      }
    }
  }
}

TEST_P(MatmulTest, EqualsReferenceForAModelsShapes) {
  constexpr int64_t kShapes[][2] = {{768, 1536}, {80, 1536}, {1536, 48}, {255, 768}};
  for (const auto& [n, k] : kShapes) {
    for (const int64_t m : {1, 3, 17}) ExpectEqualsReference(GetParam(), m, n, k);
  }
  // More than one oneDNN tile along M, along N and along both.
  ExpectEqualsReference(GetParam(), 129, 80, 768);
  ExpectEqualsReference(GetParam(), 64, 1536, 48);
  ExpectEqualsReference(GetParam(), 257, 257, 80);
}

TEST_P(MatmulTest, RowsOfABatchEqualRowsAloneBitForBit) {
  for (const int64_t k : {3, 48, 97, 255, 768}) {
    const int64_t n = 83;
    const Weight w(GetParam(), n, k, RandomValues(n * k, 4));
    const std::vector<float> x = RandomValues(16 * k, 5);
    for (int64_t m = 1; m <= 16; ++m) {
      const std::vector<float> batch = Product(x, m, w);
      for (int64_t row = 0; row < m; ++row) {
        const std::vector<float> alone =
            Product({x.begin() + row * k, x.begin() + (row + 1) * k}, 1, w);
        ASSERT_EQ(std::memcmp(alone.data(), &batch[row * n], n * sizeof(float)), 0)
            << "row " << row << " of " << m << ", K=" << k;
      }
    }
  }
}

// For any number of rows, and in every output.
TEST_P(MatmulTest, BatchInvariantRowsEqualRowsAloneBitForBit) {
  const std::vector<float> bias = RandomValues(600, 2);
  const ActivationFunction f{Activation::kCRRelu, 0.5f};
  for (const int64_t n : {1, 83, 600}) {
    for (const int64_t k : {3, 97, 768}) {
      const Weight w(GetParam(), n, k, RandomValues(n * k, 4));
      const std::vector<float> x = RandomValues(140 * k, 5);
      std::vector<float> alone(140 * n);
      for (int64_t row = 0; row < 140; ++row) {
        Matmul(TestContext(), {&x[row * k], 1, k}, w.view(), bias.data(), {&alone[row * n], 1, n},
               f);
      }
      for (const int64_t m : {0, 1, 16, 17, 48, 64, 140}) {
        std::vector<float> batch(m * n);
        BatchInvariantMatmul(TestContext(), {x.data(), m, k}, w.view(), bias.data(),
                             {batch.data(), m, n}, f);
        ASSERT_TRUE(m == 0 || std::memcmp(batch.data(), alone.data(), m * n * sizeof(float)) == 0)
            << "M=" << m << " N=" << n << " K=" << k;
      }
    }
  }
}

TEST_P(MatmulTest, ARowIsIndependentOfTheOthersValues) {
  const int64_t n = 300, k = 200;
  const Weight w(GetParam(), n, k, RandomValues(n * k, 6));
  for (const int64_t m : {2, 5, 16, 17, 140}) {
    std::vector<float> x = RandomValues(m * k, 7);
    const std::vector<float> before = Product(x, m, w);
    const int64_t kept = m / 2;
    for (int64_t i = 0; i < m * k; ++i) {
      if (i / k != kept) x[i] = i % 3 == 0 ? std::nanf("") : -x[i];
    }
    const std::vector<float> after = Product(x, m, w);
    ASSERT_EQ(std::memcmp(&before[kept * n], &after[kept * n], n * sizeof(float)), 0) << "M=" << m;
  }
}

// Reversing the weight's rows must reverse the outputs bit for bit. This fails if the order of a
// sum depends on the output's position.
TEST_P(MatmulTest, AnOutputIsIndependentOfItsPlaceBitForBit) {
  const int64_t n = 70;
  for (const int64_t k : {48, 129, 768}) {
    const std::vector<float> values = RandomValues(n * k, 11);
    std::vector<float> reversed(n * k);
    for (int64_t row = 0; row < n; ++row) {
      std::copy_n(&values[row * k], k, &reversed[(n - 1 - row) * k]);
    }
    const Weight w(GetParam(), n, k, values), w_reversed(GetParam(), n, k, reversed);
    for (const int64_t m : {1, 3, 16}) {
      const std::vector<float> x = RandomValues(m * k, 12);
      const std::vector<float> y = Product(x, m, w), y_reversed = Product(x, m, w_reversed);
      for (int64_t i = 0; i < m * n; ++i) {
        ASSERT_EQ(y[i], y_reversed[i / n * n + n - 1 - i % n]) << "M=" << m << " K=" << k;
      }
    }
  }
}

TEST_P(MatmulTest, TheNumberOfThreadsDoesNotMatter) {
  constexpr int64_t kShapes[][3] = {
      {1, 1027, 768}, {7, 1027, 768}, {17, 700, 768}, {300, 530, 768}};
  for (const auto& shape : kShapes) {
    const int64_t m = shape[0], n = shape[1], k = shape[2];
    const Weight w(GetParam(), n, k, RandomValues(n * k, 8));
    const std::vector<float> x = RandomValues(m * k, 9);
    const auto product = [&](int threads) {
      const CpuContext cpu(threads);
      return Product(x, m, w, nullptr, cpu.context());
    };
    const std::vector<float> one = product(1);
    for (const int threads : {2, 3}) {
      EXPECT_EQ(product(threads), one) << threads << " threads, M=" << m;
    }
  }
}

TEST_P(MatmulTest, NanAndInfinityPropagate) {
  const float infinity = std::numeric_limits<float>::infinity();
  // An fp32 NaN whose payload lies only in the bits that bf16 drops.
  const float low_nan = std::bit_cast<float>(0x7f800001u);
  const int64_t n = 5, k = 37;
  for (const int64_t m : {1, 3, 20}) {
    for (const int64_t at : {int64_t{0}, int64_t{20}, k - 1}) {
      std::vector<float> x(m * k, 1.0f), values(n * k, 1.0f);
      values[2 * k + at] = infinity;
      const Weight w(GetParam(), n, k, values);
      std::vector<float> y = Product(x, m, w);
      EXPECT_EQ(y[1], k);
      EXPECT_EQ(y[2], infinity);
      x[at] = 0;  // 0 * infinity is NaN
      EXPECT_TRUE(std::isnan(Product(x, m, w)[2]));
      x[at] = low_nan;
      EXPECT_THAT(Product(x, m, w)[1], testing::IsNan());
    }
  }
}

// Products and partial sums are below 2^24, so they are exact in any order unless an operand loses
// a bit.
TEST_P(MatmulTest, SumsOfSmallIntegersAreExact) {
  const int64_t n = 70;
  for (const int64_t k : {48, 64, 129, 768}) {
    std::vector<float> values(n * k);
    for (int64_t i = 0; i < n * k; ++i) values[i] = static_cast<float>(i * 37 % 255 - 127);
    const Weight w(GetParam(), n, k, values);
    for (const int64_t m : {1, 3, 16, 17, 260}) {
      std::vector<float> x(m * k), expected(m * n);
      for (int64_t i = 0; i < m * k; ++i) x[i] = static_cast<float>(i * 53 % 251 - 125);
      reference::Matmul({x.data(), m, k}, w.view(), nullptr, {expected.data(), m, n});
      ASSERT_EQ(Product(x, m, w), expected) << "M=" << m << " K=" << k;
    }
  }
}

TEST_P(MatmulTest, NoRowsNeedNoMemory) {
  const Weight w(GetParam(), 4, 8, RandomValues(32, 10));
  Matmul(TestContext(), {nullptr, 0, 8}, w.view(), nullptr, {nullptr, 0, 4});
}

TEST(MatmulBF16Test, RoundsActivationsHalfToEvenForEveryM) {
  struct {
    float x, rounded;
  } constexpr kCases[] = {
      {1 + 0x1p-9f, 1},                             // nearer to 1
      {1 + 0x1p-8f, 1},                             // half way: to the even mantissa, down
      {1 + 0x3p-8f, 1 + 0x1p-6f},                   // half way: to the even mantissa, up
      {-(1 + 0x1p-8f + 0x1p-20f), -(1 + 0x1p-7f)},  // just above half way
      {0x1.fffffep0f, 2},                           // carries into the exponent
  };
  for (const auto& [x, rounded] : kCases) {
    for (const int64_t k : {1, 2, 31, 64, 65}) {
      const Weight w(DType::kBF16, 3, k, std::vector<float>(3 * k, 1.0f));
      for (const int64_t m : {1, 4, 16, 17, 40}) {
        const std::vector<float> y = Product(std::vector<float>(m * k, x), m, w);
        EXPECT_THAT(y, testing::Each(rounded * k)) << "x=" << x << " M=" << m << " K=" << k;
      }
    }
  }
}

}  // namespace
}  // namespace whipsnake::kernels
