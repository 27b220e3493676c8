#include "kernels/quantized_matmul/quantized_matmul.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/cpu/isa.h"
#include "kernels/quantized_matmul/forms.h"
#include "tests/kernels/test_context.h"

namespace whipsnake::kernels {
namespace {

std::vector<int8_t> RandomCodes(int64_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int> code(-128, 127);
  std::vector<int8_t> codes(count);
  for (int8_t& c : codes) c = static_cast<int8_t>(code(generator));
  return codes;
}

std::vector<float> RandomValues(int64_t count, uint32_t seed, float deviation) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

// A weight that ends where readable memory ends, as the last tensor of a mapped file may: reading
// past its end crashes the test.
class Weight {
 public:
  Weight(int64_t n, int64_t k, const std::vector<int8_t>& codes) : n_(n), k_(k) {
    const int64_t page = sysconf(_SC_PAGESIZE);
    const int64_t readable = (n * k + page - 1) / page * page;
    mapped_ = readable + page;
    base_ = static_cast<char*>(
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(base_, MAP_FAILED);
    EXPECT_EQ(mprotect(base_ + readable, page, PROT_NONE), 0);
    data_ = base_ + readable - n * k;
    std::memcpy(data_, codes.data(), n * k);
  }
  ~Weight() { munmap(base_, mapped_); }
  Weight(const Weight&) = delete;

  WeightView view() const { return {data_, DType::kI8, n_, k_}; }

 private:
  int64_t n_, k_;
  char* base_;
  char* data_;
  int64_t mapped_;
};

// One of the forms of QuantizedMatmul(), used for every M. Null is QuantizedMatmul() itself, which
// chooses a form.
using Form = void (*)(const Context&, MatrixView<const int8_t>, WeightView, const Epilogue&);

template <typename T>
void Multiply(Form form, MatrixView<const int8_t> x, const Weight& w, const SumScaling& scaling,
              MatrixView<T> y, const Context& context = TestContext()) {
  if (form == nullptr) {
    QuantizedMatmul(context, x, w.view(), scaling, y);
  } else if (!x.empty()) {
    form(context, x, w.view(), Epilogue(scaling, y));
  }
}

struct Case {
  Form form = nullptr;
  int64_t m, n, k;
};

// Rows of x and y have gaps between them, and the gaps must not be written.
struct Operands {
  int64_t x_stride, y_stride;
  std::vector<int8_t> x;
  Weight w;
  std::vector<float> multiplier, bias, row_scale;

  // Sums have a standard deviation of about 5500 · √K, so the codes of y fill their range and some
  // saturate.
  explicit Operands(const Case& c)
      : Operands(c, RandomCodes(c.m * (c.k + 5), 1), RandomCodes(c.n * c.k, 2)) {}
  Operands(const Case& c, std::vector<int8_t> codes, const std::vector<int8_t>& weight)
      : x_stride(c.k + 5),
        y_stride(c.n + 3),
        x(std::move(codes)),
        w(c.n, c.k, weight),
        multiplier(RandomValues(c.n, 3, 0.015f / std::sqrt(static_cast<float>(c.k)))),
        bias(RandomValues(c.n, 4, 10.0f)),
        row_scale(RandomValues(c.m, 5, 1.0f)) {}

  MatrixView<const int8_t> X(const Case& c) const { return {x.data(), c.m, c.k, x_stride}; }
};

// Compares y bit for bit, including the gaps between its rows.
template <typename T>
void ExpectEqualsReference(const Case& c, const Operands& o, const SumScaling& scaling) {
  std::vector<T> y(c.m * o.y_stride, T{77}), expected = y;
  Multiply<T>(c.form, o.X(c), o.w, scaling, {y.data(), c.m, c.n, o.y_stride});
  reference::QuantizedMatmul(o.X(c), o.w.view(), scaling,
                             MatrixView<T>{expected.data(), c.m, c.n, o.y_stride});
  if (y.empty() || std::memcmp(y.data(), expected.data(), y.size() * sizeof(T)) == 0) return;
  for (int64_t i = 0; i < c.m * o.y_stride; ++i) {
    ASSERT_EQ(std::memcmp(&y[i], &expected[i], sizeof(T)), 0)
        << "y[" << i / o.y_stride << "," << i % o.y_stride << "] = " << +y[i] << ", expected "
        << +expected[i] << (scaling.bias != nullptr ? "" : ", no bias")
        << (scaling.row_scale != nullptr ? ", scales of rows" : "");
  }
}

void ExpectEqualsReference(const Case& c, const Operands& o) {
  SCOPED_TRACE(testing::Message() << "M=" << c.m << " N=" << c.n << " K=" << c.k);
  const float *multiplier = o.multiplier.data(), *bias = o.bias.data();
  ExpectEqualsReference<int8_t>(c, o, {multiplier, bias});
  ExpectEqualsReference<float>(c, o, {multiplier});
  if (c.k > 256) return;  // the reference is slow
  ExpectEqualsReference<int8_t>(c, o, {multiplier});
  ExpectEqualsReference<float>(c, o, {multiplier, bias});
  const ActivationFunction relu{Activation::kRelu};
  ExpectEqualsReference<int8_t>(c, o, {multiplier, bias, o.row_scale.data(), relu, 0.7f});
  ExpectEqualsReference<float>(c, o, {multiplier, bias, o.row_scale.data(), relu});
}

void ExpectEqualsReference(const Case& c) { ExpectEqualsReference(c, Operands(c)); }

struct NamedForm {
  const char* name;
  Form form;
  Isa needs;
};

class QuantizedMatmulTest : public testing::TestWithParam<NamedForm> {
 protected:
  void SetUp() override {
    if (ActiveIsa() < GetParam().needs) {
      GTEST_SKIP() << "needs " << Name(GetParam().needs) << ", not " << Name(ActiveIsa());
    }
  }
  Form form() const { return GetParam().form; }
};

INSTANTIATE_TEST_SUITE_P(Forms, QuantizedMatmulTest,
                         testing::Values(NamedForm{"Chosen", nullptr, Isa::kScalar},
                                         NamedForm{"Streaming", StreamingQuantizedMatmul,
                                                   Isa::kScalar},
                                         NamedForm{"Packed", PackedQuantizedMatmul, Isa::kVnni},
                                         NamedForm{"OneDnn", OneDnnQuantizedMatmul, Isa::kVnni}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(QuantizedMatmulTest, EqualsReferenceForEveryNumberOfRows) {
  for (int64_t m = 0; m <= 17; ++m) {
    for (const int64_t n : {1, 3, 17, 80}) {
      for (const int64_t k : {1, 16, 48, 255}) ExpectEqualsReference({form(), m, n, k});
    }
  }
}

TEST_P(QuantizedMatmulTest, EqualsReferenceForAwkwardSizes) {
  for (const int64_t m : {1, 2, 5, 31, 32, 33, 64, 65, 129}) {
    for (const int64_t n : {1, 3, 15, 16, 17, 48, 63, 64, 65}) {
      for (const int64_t k : {1, 3, 4, 15, 16, 17, 31, 63, 64, 65, 80}) {
        ExpectEqualsReference({form(), m, n, k});
      }
    }
  }
}

TEST_P(QuantizedMatmulTest, EqualsReferenceForAModelsShapes) {
  constexpr int64_t kShapes[][2] = {{768, 1536}, {80, 1536}, {1536, 48}, {255, 768}};
  for (const auto& [n, k] : kShapes) {
    for (const int64_t m : {1, 3, 17, 33}) ExpectEqualsReference({form(), m, n, k});
  }
  // More than one block of every form along M, along N and along both.
  ExpectEqualsReference({form(), 129, 80, 768});
  ExpectEqualsReference({form(), 64, 1536, 48});
  ExpectEqualsReference({form(), 300, 530, 80});
}

// All products have the largest magnitude of either sign: the sums reach the extremes for K, and
// 16-bit intermediate sums would overflow.
TEST_P(QuantizedMatmulTest, TheLargestSumsAreExact) {
  for (const int8_t x : {-128, 127}) {
    for (const int8_t w : {-128, 127}) {
      for (const int64_t m : {1, 7, 40}) {
        for (const int64_t k : {1, 2, 63, 64, 200, (1 << 17) - 1}) {
          const Case c{form(), m, 5, k};
          ExpectEqualsReference(
              c, Operands(c, std::vector<int8_t>(m * (k + 5), x), std::vector<int8_t>(5 * k, w)));
        }
      }
    }
  }
}

TEST_P(QuantizedMatmulTest, CodesRoundHalfToEvenAndSaturate) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  struct {
    float multiplier, bias;  // the sum is 1
    int code;
  } constexpr kCases[] = {
      {0.5f, 0, 0},          {1.5f, 0, 2},       {-0.5f, 0, 0},      {-2.5f, 0, -2},
      {126.5f, 0, 126},      {127.49f, 0, 127},  {1000, 0, 127},     {3e9f, 0, 127},
      {kInfinity, 0, 127},   {-127.5f, 0, -128}, {-128.5f, 0, -128}, {-3e9f, 0, -128},
      {-kInfinity, 0, -128}, {kNan, 0, 0},       {2, 0.5f, 2},       {1, -129, -128},
      {0x1p-25f, 0.5f, 0},  // their sum rounds to 0.5
  };
  const int64_t n = std::size(kCases);
  std::vector<float> multiplier, bias;
  for (const auto& c : kCases) {
    multiplier.push_back(c.multiplier);
    bias.push_back(c.bias);
  }
  for (const int64_t m : {1, 20, 50}) {
    const Weight w(n, 1, std::vector<int8_t>(n, 1));
    const std::vector<int8_t> x(m, 1);
    std::vector<int8_t> y(m * n);
    Multiply<int8_t>(form(), {x.data(), m, 1}, w, {multiplier.data(), bias.data()},
                     {y.data(), m, n});
    for (int64_t i = 0; i < m * n; ++i) {
      ASSERT_EQ(y[i], kCases[i % n].code)
          << kCases[i % n].multiplier << " + " << kCases[i % n].bias << ", M=" << m;
    }
  }
}

// The product must be rounded before the addition: a fused multiply-add would keep bits that
// rounding drops.
TEST_P(QuantizedMatmulTest, ProductAndSumAreNotFused) {
  const float multiplier = 1 + 0x1p-23f, bias = -3;  // fp32 cannot represent 3 · multiplier
  const Weight w(1, 1, {3});
  const std::vector<int8_t> x(40, 1);
  for (const int64_t m : {1, 40}) {
    std::vector<float> y(m);
    Multiply<float>(form(), {x.data(), m, 1}, w, {&multiplier, &bias}, {y.data(), m, 1});
    EXPECT_THAT(y, testing::Each(0x1p-21f));
  }
}

TEST_P(QuantizedMatmulTest, TheNumberOfThreadsDoesNotMatter) {
  constexpr int64_t kShapes[][3] = {{1, 1027, 768}, {7, 1027, 768}, {33, 700, 768},
                                    {64, 80, 900},  {129, 17, 900}, {300, 530, 768}};
  for (const auto& shape : kShapes) {
    const int64_t m = shape[0], n = shape[1], k = shape[2];
    const Case c{form(), m, n, k};
    const Operands o(c);
    const auto product = [&](int threads) {
      const CpuContext cpu(threads);
      std::vector<float> y(m * n);
      Multiply<float>(form(), o.X(c), o.w, {o.multiplier.data(), o.bias.data()}, {y.data(), m, n},
                      cpu.context());
      return y;
    };
    const std::vector<float> one = product(1);
    for (const int threads : {2, 3, 5}) {
      EXPECT_EQ(product(threads), one) << threads << " threads, M=" << m;
    }
  }
}

// The epilogue's activation must equal Activate() applied to the sums.
TEST_P(QuantizedMatmulTest, TheActivationIsThatOfTheSums) {
  for (const int64_t m : {1, 9, 70}) {
    const Case c{form(), m, 83, 100};
    const Operands o(c);
    for (const Activation kind : {Activation::kGeluNew, Activation::kCRRelu}) {
      const ActivationFunction f{kind, -0.3f};
      SumScaling scaling{o.multiplier.data(), o.bias.data(), o.row_scale.data()};
      std::vector<float> sums(m * c.n), y(m * c.n);
      Multiply<float>(form(), o.X(c), o.w, scaling, {sums.data(), m, c.n});
      Activate(TestContext(), f, sums.data(), m * c.n, sums.data());
      scaling.f = f;
      Multiply<float>(form(), o.X(c), o.w, scaling, {y.data(), m, c.n});
      EXPECT_EQ(std::memcmp(y.data(), sums.data(), y.size() * sizeof(float)), 0);
      scaling.inverse_scale = 3;
      std::vector<int8_t> codes(m * c.n);
      Multiply<int8_t>(form(), o.X(c), o.w, scaling, {codes.data(), m, c.n});
      for (int64_t i = 0; i < m * c.n; ++i) ASSERT_EQ(codes[i], ToCode(sums[i] * 3));
    }
  }
}

// Each row of a batch equals the same row alone, whichever form each call uses.
TEST(QuantizedMatmulChosenTest, RowsOfABatchEqualRowsAloneBitForBit) {
  const Case c{nullptr, 70, 83, 255};
  const Operands o(c);
  const auto product = [&](int64_t first, int64_t rows) {
    std::vector<float> y(rows * c.n);
    QuantizedMatmul(TestContext(), o.X(c).Rows(first, rows), o.w.view(),
                    {o.multiplier.data(), o.bias.data()}, MatrixView<float>(y.data(), rows, c.n));
    return y;
  };
  const std::vector<float> batch = product(0, c.m);
  for (int64_t m = 0; m < c.m; ++m) {
    ASSERT_EQ(std::memcmp(product(m, 1).data(), &batch[m * c.n], c.n * sizeof(float)), 0) << m;
  }
}

TEST(QuantizedMatmulChosenTest, NothingToDo) {
  const Weight w(3, 4, std::vector<int8_t>(12));
  int8_t y = 77;
  QuantizedMatmul(TestContext(), {nullptr, 0, 4}, w.view(), {}, MatrixView<int8_t>(&y, 0, 3));
  EXPECT_EQ(y, 77);
}

}  // namespace
}  // namespace whipsnake::kernels
