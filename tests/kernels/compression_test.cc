#include "kernels/compression/compression.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/dtype.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kSmallest = std::numeric_limits<float>::denorm_min();
constexpr int64_t kWidths[] = {1, 7, 16, 31, 48, 63, 64, 65, 768, 1000};
constexpr float kSpecials[] = {0,          -0.0f,    kNaN,      -kNaN,     kInfinity,
                               -kInfinity, kLargest, -kLargest, kSmallest, -kSmallest};

// Random elements of which every third is special.
TestMatrix WithSpecials(int64_t rows, int64_t cols, Random& random) {
  TestMatrix x(rows, cols, random, -20, 20);
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t i = t % 3; i < cols; i += 3) {
      x.view().row(t)[i] = kSpecials[random.Integer(0, std::size(kSpecials) - 1)];
    }
  }
  return x;
}

// A buffer with a byte after its end that must stay.
class GuardedBytes {
 public:
  explicit GuardedBytes(int64_t size) : bytes_(size + 1, kGuard) {}
  uint8_t* data() { return bytes_.data(); }
  bool Intact() const { return bytes_.back() == kGuard; }
  bool Identical(const GuardedBytes& other) const { return bytes_ == other.bytes_; }

 private:
  static constexpr uint8_t kGuard = 0xA5;
  std::vector<uint8_t> bytes_;
};

class FixedPointTest : public testing::TestWithParam<std::pair<const char*, FixedPoint>> {
 protected:
  FixedPoint format() const { return GetParam().second; }
  double step() const { return std::ldexp(1.0, -format().fraction_bits); }
  int count() const { return 1 << format().bits; }

  // Stores and restores one row.
  std::vector<float> RoundTrip(const std::vector<float>& x, int64_t* saturated = nullptr) const {
    const int64_t n = std::ssize(x);
    GuardedBytes codes(EncodedBytes(format(), 1, n));
    std::vector<float> restored(n);
    const int64_t number = Encode(TestContext(), format(), {x.data(), 1, n}, codes.data());
    if (saturated != nullptr) *saturated = number;
    Decode(TestContext(), format(), codes.data(), {restored.data(), 1, n});
    return restored;
  }
};

TEST_P(FixedPointTest, EveryCodeIsItsMultipleOfTheStep) {
  std::vector<float> values;
  for (int q = format().lowest(); q <= format().highest(); ++q) {
    values.push_back(static_cast<float>(q * step()));
  }
  ASSERT_EQ(std::ssize(values), count());
  int64_t saturated = -1;
  EXPECT_EQ(RoundTrip(values, &saturated), values);
  EXPECT_EQ(saturated, 0);
  // The codes are two's complement.
  std::vector<uint8_t> codes(EncodedBytes(format(), count(), 1));
  Encode(TestContext(), format(), {values.data(), count(), 1}, codes.data());
  for (int i = 0; i < count(); ++i) {
    EXPECT_EQ(codes[i], (format().lowest() + i) & (count() - 1)) << values[i];
  }
}

TEST_P(FixedPointTest, TiesRoundToEven) {
  for (int q = format().lowest(); q < format().highest(); ++q) {
    const float tie = static_cast<float>((q + 0.5) * step());
    const int even = q % 2 == 0 ? q : q + 1;
    EXPECT_EQ(RoundTrip({tie})[0], even * step()) << q;
    EXPECT_EQ(RoundTrip({std::nextafter(tie, -kInfinity)})[0], q * step()) << q;
    EXPECT_EQ(RoundTrip({std::nextafter(tie, kInfinity)})[0], (q + 1) * step()) << q;
  }
}

// The lowest code is even and the highest odd, so that half a step outside the range rounds into it
// below and out of it above.
TEST_P(FixedPointTest, SaturatesOutsideTheRangeAndCountsIt) {
  const float low = static_cast<float>(format().lowest() * step());
  const float high = static_cast<float>(format().highest() * step());
  const float half = static_cast<float>(step() / 2);
  struct Case {
    float x, restored;
    bool saturates;
  };
  for (const Case& c : {Case{low, low, false},
                        {low - half, low, false},
                        {std::nextafter(low - half, -kInfinity), low, true},
                        {low - 2 * half, low, true},
                        {-kLargest, low, true},
                        {-kInfinity, low, true},
                        {high, high, false},
                        {std::nextafter(high + half, 0.0f), high, false},
                        {high + half, high, true},
                        {high + 2 * half, high, true},
                        {kLargest, high, true},
                        {kInfinity, high, true},
                        {kNaN, 0, false}}) {
    // In every lane of a vector and of the part of one after it.
    for (int at = 0; at < 37; ++at) {
      std::vector<float> x(37, 0.0f);
      x[at] = c.x;
      int64_t saturated = -1;
      EXPECT_EQ(RoundTrip(x, &saturated)[at], c.restored) << c.x;
      EXPECT_EQ(saturated, c.saturates) << c.x;
    }
  }
}

TEST_P(FixedPointTest, TheErrorIsAtMostHalfAStepInsideTheRange) {
  Random random(1);
  const std::vector<float> x =
      random.Vector(100001, static_cast<float>((format().lowest() - 0.5) * step()),
                    static_cast<float>((format().highest() + 0.5) * step()));
  const std::vector<float> restored = RoundTrip(x);
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_LE(std::abs(double{restored[i]} - x[i]), step() / 2) << x[i];
  }
}

TEST_P(FixedPointTest, EqualsTheReference) {
  Random random(2);
  for (const int64_t cols : kWidths) {
    for (const int64_t rows : {1, 2, 9}) {
      const TestMatrix x = WithSpecials(rows, cols, random);
      GuardedBytes codes(EncodedBytes(format(), rows, cols)), want = codes;
      const int64_t saturated = Encode(TestContext(), format(), x.view(), codes.data());
      EXPECT_EQ(saturated, reference::Encode(format(), x.view(), want.data()));
      EXPECT_GE(saturated, rows > 2 ? 1 : 0);
      EXPECT_TRUE(codes.Identical(want)) << cols;
      TestMatrix restored(rows, cols), want_restored(rows, cols);
      Decode(TestContext(), format(), codes.data(), restored.view());
      reference::Decode(format(), codes.data(), want_restored.view());
      EXPECT_TRUE(restored.Identical(want_restored)) << cols;
    }
  }
}

TEST_P(FixedPointTest, TheNumberOfThreadsDoesNotMatter) {
  Random random(3);
  for (const int64_t cols : {767, 1000}) {
    const TestMatrix x = WithSpecials(67, cols, random);
    GuardedBytes alone(EncodedBytes(format(), 67, cols));
    const int64_t saturated = Encode(Context(), format(), x.view(), alone.data());
    TestMatrix restored_alone(67, cols);
    Decode(Context(), format(), alone.data(), restored_alone.view());
    for (const int threads : {1, 2, 3}) {
      const CpuContext cpu(threads);
      GuardedBytes codes(EncodedBytes(format(), 67, cols));
      EXPECT_EQ(Encode(cpu.context(), format(), x.view(), codes.data()), saturated);
      EXPECT_TRUE(codes.Identical(alone)) << threads;
      TestMatrix restored(67, cols);
      Decode(cpu.context(), format(), codes.data(), restored.view());
      EXPECT_TRUE(restored.Identical(restored_alone)) << threads;
    }
  }
}

TEST_P(FixedPointTest, AcceptsNoRowsAndNoColumns) {
  float value = 3;
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{0, 5}, {5, 0}}) {
    ASSERT_EQ(EncodedBytes(format(), rows, cols), 0);
    GuardedBytes codes(0);
    EXPECT_EQ(Encode(TestContext(), format(), {&value, rows, cols}, codes.data()), 0);
    Decode(TestContext(), format(), codes.data(), {&value, rows, cols});
    EXPECT_TRUE(codes.Intact());
  }
  EXPECT_EQ(value, 3);
}

INSTANTIATE_TEST_SUITE_P(
    Formats, FixedPointTest,
    testing::Values(std::pair("int8", kInt8), std::pair("uint8", kUint8), std::pair("int4", kInt4),
                    std::pair("uint4",
                              FixedPoint{.bits = 4, .fraction_bits = 4, .is_signed = false}),
                    std::pair("integers", FixedPoint{})),
    [](const auto& test) { return std::string(test.param.first); });

TEST(EncodedBytesTest, RowsBeginWithANewByte) {
  EXPECT_EQ(EncodedBytes(kInt8, 3, 7), 21);
  EXPECT_EQ(EncodedBytes(kInt4, 3, 8), 12);
  EXPECT_EQ(EncodedBytes(kInt4, 3, 7), 12);
  const float x[] = {0.5f, -0.5f, 1.5f};
  uint8_t codes[2];
  Encode(TestContext(), kInt4, {x, 1, 3}, codes);
  EXPECT_EQ(codes[0], 0xF1);
  EXPECT_EQ(codes[1], 0x03);
}

struct Grouped {
  Grouped(int64_t rows, int64_t cols) : scales_and_codes((GroupBytes(rows, cols) + 3) / 4 + 1) {}
  uint8_t* bytes() { return reinterpret_cast<uint8_t*>(scales_and_codes.data()); }

  std::vector<float> scales_and_codes;  // and one more, which must stay 0
};

TEST(GroupsTest, EqualTheReference) {
  Random random(4);
  for (const int64_t cols : {int64_t{63}, int64_t{64}, int64_t{65}, int64_t{1}, int64_t{1000}}) {
    for (const bool special : {false, true}) {
      const TestMatrix x =
          special ? WithSpecials(9, cols, random) : TestMatrix(9, cols, random, -3, 3);
      Grouped stored(9, cols), want(9, cols);
      EncodeGroups(TestContext(), x.view(), stored.bytes(), /*keep_signs=*/true);
      reference::EncodeGroups(x.view(), want.bytes(), /*keep_signs=*/true);
      EXPECT_TRUE(Identical(stored.scales_and_codes, want.scales_and_codes)) << cols;
      EncodeGroups(TestContext(), x.view(), stored.bytes());
      reference::EncodeGroups(x.view(), want.bytes());
      EXPECT_TRUE(Identical(stored.scales_and_codes, want.scales_and_codes)) << cols;
      TestMatrix restored(9, cols), want_restored(9, cols);
      DecodeGroups(TestContext(), stored.bytes(), restored.view());
      reference::DecodeGroups(stored.bytes(), want_restored.view());
      EXPECT_TRUE(restored.GapsIntact());
      for (int64_t t = 0; t < 9; ++t) {
        for (int64_t i = 0; i < cols; ++i) {
          if (std::isnan(want_restored.at(t, i))) {
            EXPECT_TRUE(std::isnan(restored.at(t, i)));
          } else {
            EXPECT_EQ(restored.at(t, i), want_restored.at(t, i));
          }
        }
      }
    }
  }
}

// Groups of every magnitude.
TEST(GroupsTest, TheErrorIsAtMostHalfAStepOfTheGroup) {
  Random random(5);
  constexpr int64_t kColumns = 1000;
  for (int exponent = -149; exponent < 128; ++exponent) {
    std::vector<float> x = random.Vector(kColumns, -1, 1);
    for (float& v : x) v = std::ldexp(v, exponent);
    Grouped stored(1, kColumns);
    std::vector<float> restored(kColumns);
    EncodeGroups(TestContext(), {x.data(), 1, kColumns}, stored.bytes());
    DecodeGroups(TestContext(), stored.bytes(), {restored.data(), 1, kColumns});
    for (int64_t i = 0; i < kColumns; ++i) {
      const int64_t begin = i / kGroupColumns * kGroupColumns;
      const int64_t end = std::min(begin + kGroupColumns, kColumns);
      double largest = 0;
      for (int64_t j = begin; j < end; ++j) largest = std::max<double>(largest, std::abs(x[j]));
      ASSERT_LE(std::abs(double{restored[i]} - x[i]), largest / 127 / 2 * 1.0001 + 0x1p-142)
          << "exponent " << exponent << " element " << i;
    }
  }
}

TEST(GroupsTest, SignsCanBeKept) {
  Random random(9);
  constexpr int64_t kColumns = 200;
  std::vector<float> x = random.Vector(kColumns, -1, 1);
  for (int64_t i = 0; i < kColumns; i += 3) x[i] *= 1e-4f;  // far below a step
  x[7] = 0;
  Grouped stored(1, kColumns);
  std::vector<float> restored(kColumns);
  EncodeGroups(TestContext(), {x.data(), 1, kColumns}, stored.bytes(), /*keep_signs=*/true);
  DecodeGroups(TestContext(), stored.bytes(), {restored.data(), 1, kColumns});
  for (int64_t i = 0; i < kColumns; ++i) {
    EXPECT_EQ(restored[i] > 0, x[i] > 0) << i;
    EXPECT_EQ(restored[i] < 0, x[i] < 0) << i;
    EXPECT_LE(std::abs(restored[i] - x[i]), 1.0001 / 127) << i;
  }
}

TEST(GroupsTest, RowsCanBeDecodedAlone) {
  Random random(10);
  const TestMatrix x(9, 150, random, -3, 3);
  Grouped stored(9, 150);
  EncodeGroups(TestContext(), x.view(), stored.bytes());
  TestMatrix all(9, 150), some(4, 150);
  DecodeGroups(TestContext(), stored.bytes(), all.view());
  DecodeGroupRows(TestContext(), stored.bytes(), /*rows=*/9, /*first=*/3, some.view());
  for (int64_t t = 0; t < 4; ++t) {
    for (int64_t i = 0; i < 150; ++i) EXPECT_EQ(some.at(t, i), all.at(t + 3, i));
  }
}

TEST(GroupsTest, LargeNumbersStayFinite) {
  constexpr float kLarge = (1 - 0x1p-22f) * 0x1p127f * 2;
  const float x[] = {kLarge, -kLarge, 1};
  float restored[3];
  Grouped stored(1, 3);
  EncodeGroups(TestContext(), {x, 1, 3}, stored.bytes());
  DecodeGroups(TestContext(), stored.bytes(), {restored, 1, 3});
  EXPECT_NEAR(restored[0] / kLarge, 1, 1e-6);
  EXPECT_NEAR(restored[1] / kLarge, -1, 1e-6);
  EXPECT_EQ(restored[2], 0);
}

TEST(GroupsTest, AFaultFillsItsGroupAndNoOther) {
  Random random(6);
  for (const float fault : {kNaN, -kNaN, kInfinity, -kInfinity}) {
    for (const int64_t at : {0, 63, 64, 100, 130, 149}) {
      TestMatrix x(3, 150, random, -3, 3), restored(3, 150);
      x.view().row(1)[at] = fault;
      Grouped stored(3, 150);
      EncodeGroups(TestContext(), x.view(), stored.bytes());
      DecodeGroups(TestContext(), stored.bytes(), restored.view());
      for (int64_t t = 0; t < 3; ++t) {
        for (int64_t i = 0; i < 150; ++i) {
          EXPECT_EQ(std::isnan(restored.at(t, i)), t == 1 && i / 64 == at / 64) << i;
        }
      }
    }
  }
}

TEST(GroupsTest, ZerosStayZeros) {
  const std::vector<float> x(100, -0.0f);
  std::vector<float> restored(100, 1.0f);
  Grouped stored(1, 100);
  EncodeGroups(TestContext(), {x.data(), 1, 100}, stored.bytes());
  DecodeGroups(TestContext(), stored.bytes(), {restored.data(), 1, 100});
  EXPECT_EQ(restored, std::vector<float>(100, 0.0f));
}

TEST(GroupsTest, TheNumberOfThreadsDoesNotMatter) {
  Random random(7);
  const TestMatrix x = WithSpecials(67, 1000, random);
  Grouped alone(67, 1000);
  EncodeGroups(Context(), x.view(), alone.bytes());
  TestMatrix restored_alone(67, 1000);
  DecodeGroups(Context(), alone.bytes(), restored_alone.view());
  for (const int threads : {1, 2, 3}) {
    const CpuContext cpu(threads);
    Grouped stored(67, 1000);
    EncodeGroups(cpu.context(), x.view(), stored.bytes());
    EXPECT_TRUE(Identical(stored.scales_and_codes, alone.scales_and_codes)) << threads;
    TestMatrix restored(67, 1000);
    DecodeGroups(cpu.context(), stored.bytes(), restored.view());
    EXPECT_TRUE(restored.Identical(restored_alone)) << threads;
  }
}

TEST(GroupsTest, AcceptNoRowsAndNoColumns) {
  float value = 3;
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{0, 5}, {5, 0}}) {
    ASSERT_EQ(GroupBytes(rows, cols), 0);
    EncodeGroups(TestContext(), {&value, rows, cols}, nullptr);
    DecodeGroups(TestContext(), nullptr, {&value, rows, cols});
  }
  EXPECT_EQ(value, 3);
}

TEST(BF16Test, EqualsTheReference) {
  Random random(8);
  for (const int64_t cols : kWidths) {
    for (const int threads : {1, 2, 3}) {
      const CpuContext cpu(threads);
      const TestMatrix x = WithSpecials(67, cols, random);
      std::vector<uint16_t> codes(67 * cols + 1, 0xA5A5), want = codes;
      EncodeBF16(cpu.context(), x.view(), codes.data());
      reference::EncodeBF16(x.view(), want.data());
      EXPECT_TRUE(Identical(codes, want)) << cols;
      TestMatrix restored(67, cols), want_restored(67, cols);
      DecodeBF16(cpu.context(), codes.data(), restored.view());
      reference::DecodeBF16(codes.data(), want_restored.view());
      EXPECT_TRUE(restored.Identical(want_restored)) << cols;
    }
  }
}

struct Kept {
  std::vector<int32_t> indices;
  std::vector<float> values;

  // With a guard after the end.
  explicit Kept(int64_t k) : indices(k + 1, -7), values(k + 1, -7) {}
  int64_t count() const { return std::ssize(indices) - 1; }
  void Prune(const Context& context, const TestMatrix& x) {
    kernels::Prune(context, x.view(), count(), indices.data(), values.data());
  }
  void PruneByReference(const TestMatrix& x) {
    reference::Prune(x.view(), count(), indices.data(), values.data());
  }
  bool Identical(const Kept& other) const {
    return indices == other.indices && kernels::Identical(values, other.values);
  }
};

// Checks pruning to k elements and back.
void ExpectPruned(const TestMatrix& x, int64_t k) {
  const int64_t rows = x.view().rows, cols = x.view().cols;
  SCOPED_TRACE(testing::Message() << "T=" << rows << " D=" << cols << " k=" << k);
  Kept want(k);
  want.PruneByReference(x);
  TestMatrix restored_want(rows, cols);
  reference::Unprune(want.indices.data(), want.values.data(), k, restored_want.view());
  for (const int threads : {1, 2, 3}) {
    const CpuContext cpu(threads);
    Kept kept(k);
    kept.Prune(cpu.context(), x);
    EXPECT_TRUE(kept.Identical(want)) << threads;
    TestMatrix restored(rows, cols);
    Unprune(cpu.context(), kept.indices.data(), kept.values.data(), k, restored.view());
    EXPECT_TRUE(restored.Identical(restored_want)) << threads;
  }
}

// The numbers of elements to keep of n.
std::vector<int64_t> Counts(int64_t n) {
  return {0,     std::min<int64_t>(1, n),     KeptElements(0.1, 1, n),
          n / 2, std::max<int64_t>(n - 1, 0), n};
}

TEST(PruningTest, EqualsTheReference) {
  Random random(9);
  for (const int64_t cols : kWidths) {
    for (const int64_t rows : {1, 2, 67}) {
      const TestMatrix numbers(rows, cols, random, -3, 3);
      const TestMatrix specials = WithSpecials(rows, cols, random);
      for (const int64_t k : Counts(rows * cols)) {
        ExpectPruned(numbers, k);
        ExpectPruned(specials, k);
      }
    }
  }
}

// Magnitudes that differ in the last bits only, and the same magnitude everywhere.
TEST(PruningTest, TiesKeepTheLowerIndices) {
  Random random(10);
  for (const int64_t cols : kWidths) {
    TestMatrix close(67, cols), equal(67, cols), zeros(67, cols);
    for (int64_t t = 0; t < 67; ++t) {
      for (int64_t i = 0; i < cols; ++i) {
        const float sign = random.Integer(0, 1) == 0 ? 1.0f : -1.0f;
        close.view().row(t)[i] = sign * (1 + static_cast<float>(random.Integer(0, 5)) * 0x1p-23f);
        equal.view().row(t)[i] = sign * 1.5f;
        zeros.view().row(t)[i] = sign * 0.0f;
      }
    }
    for (const int64_t k : Counts(67 * cols)) {
      for (const TestMatrix* x : {&close, &equal, &zeros}) ExpectPruned(*x, k);
      Kept kept(k);
      kept.Prune(TestContext(), equal);
      for (int64_t j = 0; j < k; ++j) ASSERT_EQ(kept.indices[j], j);
    }
  }
}

TEST(PruningTest, KeepsATenthOfTheWholeTensor) {
  Random random(11);
  EXPECT_EQ(KeptElements(0.1, 67, 1000), 6700);
  EXPECT_EQ(KeptElements(0.1, 1, 999), 99);
  EXPECT_EQ(KeptElements(1, 67, 1000), 67000);
  // The rows differ in magnitude, and the largest elements are all in the last one.
  TestMatrix x(10, 1000, random, -1, 1);
  for (int64_t i = 0; i < 1000; ++i) x.view().row(9)[i] += 5;
  Kept kept(KeptElements(0.1, 10, 1000));
  kept.Prune(TestContext(), x);
  for (int64_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(kept.indices[i], 9000 + i);
    EXPECT_EQ(kept.values[i], x.at(9, i));
  }
}

TEST(PruningTest, KeepingAllRestoresAll) {
  Random random(12);
  const TestMatrix x = WithSpecials(67, 1000, random);
  Kept kept(67 * 1000);
  kept.Prune(TestContext(), x);
  TestMatrix restored(67, 1000);
  Unprune(TestContext(), kept.indices.data(), kept.values.data(), kept.count(), restored.view());
  EXPECT_TRUE(restored.Identical(x));
}

TEST(PruningTest, ANaNIsKeptFirst) {
  Random random(13);
  for (const float nan : {kNaN, -kNaN}) {
    TestMatrix x(3, 100, random, -3, 3);
    x.view().row(1)[17] = nan;
    x.view().row(2)[99] = kInfinity;
    Kept kept(1);
    kept.Prune(TestContext(), x);
    EXPECT_EQ(kept.indices[0], 117);
    EXPECT_TRUE(std::isnan(kept.values[0]));
  }
}

TEST(PruningTest, AcceptsNoRowsAndNoColumns) {
  ExpectPruned(TestMatrix(0, 5), 0);
  ExpectPruned(TestMatrix(5, 0), 0);
}

}  // namespace
}  // namespace whipsnake::kernels
