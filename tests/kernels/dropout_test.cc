#include "kernels/dropout/dropout.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kWidths[] = {1, 3, 7, 16, 31, 48, 63, 64, 65, 768, 1000};
constexpr float kLargestProbability = 1 - 0x1p-24f;

DropoutMask RandomMask(float probability, Random& random) {
  const auto word = [&] { return static_cast<uint64_t>(random.Integer(0, 0xffffffff)); };
  return {probability, word() << 32 | word(), word() << 32 | word()};
}

// The known answers that Salmon et al. publish with their Random123 library.
TEST(PhiloxTest, HasTheKnownAnswers) {
  struct Answer {
    uint32_t counter[4], key[2], words[4];
  };
  constexpr Answer kAnswers[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (const Answer& answer : kAnswers) {
    uint32_t words[4];
    reference::Philox(answer.counter, answer.key, words);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(words[i], answer.words[i]) << i;
  }
}

TEST(FactorTest, UsesTheCounterAndKeyOfTheContract) {
  const DropoutMask mask{.probability = 0.25f, .seed = 0x0123456789abcdef, .stream = 0xfedcba98765};
  const uint32_t key[] = {0x89abcdef, 0x01234567};
  for (uint32_t t : {0u, 1u, 0xffffffffu}) {
    for (uint32_t i = 0; i < 100; ++i) {
      const uint32_t counter[] = {i / 4, t, 0xcba98765, 0xfed};
      uint32_t words[4];
      reference::Philox(counter, key, words);
      EXPECT_EQ(reference::Factor(mask, t, i), words[i % 4] < 0x40000000 ? 0 : 4.0f / 3);
    }
  }
}

// The bits are the same on every ISA because each is compared with the reference.
TEST(DropoutTest, EqualsTheReference) {
  Random random(1);
  for (const float probability : {0.0f, 0x1p-32f, 0.1f, 0.3f, 0.5f, 0.9f, kLargestProbability}) {
    for (const int64_t cols : kWidths) {
      const DropoutMask mask = RandomMask(probability, random);
      const TestMatrix x(9, cols, random, -3, 3), r(9, cols, random, -3, 3);
      TestMatrix y(9, cols), want(9, cols);
      Dropout(TestContext(), mask, x.view(), y.view());
      reference::Dropout(mask, x.view(), want.view());
      EXPECT_TRUE(y.Identical(want)) << probability << " " << cols;
      AddDropout(TestContext(), mask, x.view(), r.view(), y.view());
      reference::AddDropout(mask, x.view(), r.view(), want.view());
      EXPECT_TRUE(y.Identical(want)) << probability << " " << cols;
    }
  }
}

// Each of the words' bits decides about some element: a threshold just above or at a word drops or
// keeps it.
TEST(DropoutTest, ComparesWholeWords) {
  constexpr int64_t kColumns = 256;
  const std::vector<float> ones(kColumns, 1.0f);
  std::vector<float> y(kColumns);
  for (int exponent = 1; exponent <= 8; ++exponent) {
    for (int i = 0; i < 64; ++i) {
      const float probability = std::ldexp(1 + i / 64.0f, -exponent);
      if (probability >= 1) continue;
      const DropoutMask mask{.probability = probability, .seed = 7, .stream = 8};
      Dropout(TestContext(), mask, {ones.data(), 1, kColumns}, {y.data(), 1, kColumns});
      for (int64_t c = 0; c < kColumns; ++c) ASSERT_EQ(y[c], reference::Factor(mask, 0, c));
    }
  }
}

TEST(DropoutTest, IsExactWithoutDropping) {
  Random random(2);
  const DropoutMask mask = RandomMask(0, random);
  TestMatrix x(5, 100, random, -3, 3), y(5, 100), want(5, 100);
  const TestMatrix r(5, 100, random, -3, 3);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float special[] = {std::nanf("7"), kInfinity, -kInfinity, -0.0f, 0x1p-149f};
  std::copy(std::begin(special), std::end(special), x.view().row(2) + 62);
  Dropout(TestContext(), mask, x.view(), y.view());
  EXPECT_TRUE(y.Identical(x));
  AddDropout(TestContext(), mask, x.view(), r.view(), y.view());
  for (int64_t t = 0; t < 5; ++t) {
    for (int64_t i = 0; i < 100; ++i) want.view().row(t)[i] = r.at(t, i) + x.at(t, i);
  }
  EXPECT_TRUE(y.Identical(want));
}

TEST(DropoutTest, MayWriteInPlace) {
  Random random(3);
  for (const float probability : {0.0f, 0.5f}) {
    for (const int64_t cols : kWidths) {
      const DropoutMask mask = RandomMask(probability, random);
      const TestMatrix x(4, cols, random, -3, 3), r(4, cols, random, -3, 3);
      TestMatrix want(4, cols), y = x;
      Dropout(TestContext(), mask, x.view(), want.view());
      Dropout(TestContext(), mask, y.view(), y.view());
      EXPECT_TRUE(y.Identical(want)) << probability << " " << cols;
      AddDropout(TestContext(), mask, x.view(), r.view(), want.view());
      y = x;
      AddDropout(TestContext(), mask, y.view(), r.view(), y.view());
      EXPECT_TRUE(y.Identical(want)) << probability << " " << cols;
      y = r;
      AddDropout(TestContext(), mask, x.view(), y.view(), y.view());
      EXPECT_TRUE(y.Identical(want)) << probability << " " << cols;
    }
  }
}

// The number of dropped elements has a binomial distribution. Five standard deviations hold for all
// but a millionth of the masks.
TEST(DropoutTest, DropsWithItsProbability) {
  Random random(4);
  constexpr int64_t kRows = 256, kColumns = 1024, kElements = kRows * kColumns;
  const std::vector<float> ones(kElements, 1.0f);
  std::vector<float> y(kElements);
  for (const float p : {0.01f, 0.1f, 0.5f, 0.9f}) {
    const DropoutMask mask = RandomMask(p, random);
    Dropout(TestContext(), mask, {ones.data(), kRows, kColumns}, {y.data(), kRows, kColumns});
    const auto dropped = std::count(y.begin(), y.end(), 0.0f);
    EXPECT_NEAR(dropped, kElements * p, 5 * std::sqrt(kElements * p * (1 - p))) << p;
    // Neighbours in a row and in a column are independent.
    int64_t pairs = 0, stacked = 0;
    for (int64_t i = 0; i + kColumns < kElements; ++i) {
      pairs += y[i] == 0 && y[i + 1] == 0;
      stacked += y[i] == 0 && y[i + kColumns] == 0;
    }
    const double count = kElements - kColumns, both = double{p} * p;
    // Overlapping pairs have at most three times the variance of separate ones.
    const double deviation = 5 * std::sqrt(3 * count * both);
    EXPECT_NEAR(pairs, count * both, deviation) << p;
    EXPECT_NEAR(stacked, count * both, deviation) << p;
  }
}

TEST(DropoutTest, SeedsAndStreamsHaveTheirOwnMasks) {
  constexpr int64_t kColumns = 1000;
  const std::vector<float> ones(kColumns, 1.0f);
  const auto masked = [&](uint64_t seed, uint64_t stream) {
    std::vector<float> y(kColumns);
    Dropout(TestContext(), {0.5f, seed, stream}, {ones.data(), 1, kColumns},
            {y.data(), 1, kColumns});
    return y;
  };
  const std::vector<float> mask = masked(1, 1);
  EXPECT_EQ(mask, masked(1, 1));
  for (const auto& [seed, stream] : std::vector<std::pair<uint64_t, uint64_t>>{
           {2, 1}, {1, 2}, {1 + (uint64_t{1} << 32), 1}, {1, 1 + (uint64_t{1} << 32)}}) {
    const std::vector<float> other = masked(seed, stream);
    int equal = 0;
    for (int64_t i = 0; i < kColumns; ++i) equal += mask[i] == other[i];
    EXPECT_NEAR(equal, kColumns / 2, 80) << seed << " " << stream;
  }
}

TEST(DropoutTest, DoesNotDependOnTheNumberOfThreads) {
  Random random(5);
  const DropoutMask mask = RandomMask(0.1f, random);
  const TestMatrix x(67, 1000, random, -3, 3);
  TestMatrix want(67, 1000);
  Dropout(Context(), mask, x.view(), want.view());
  for (const int threads : {2, 3}) {
    const CpuContext cpu(threads);
    TestMatrix y(67, 1000);
    Dropout(cpu.context(), mask, x.view(), y.view());
    EXPECT_TRUE(y.Identical(want)) << threads;
  }
}

TEST(DropoutTest, AcceptsNoRowsAndNoColumns) {
  float value = 3;
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{0, 5}, {5, 0}}) {
    Dropout(TestContext(), {.probability = 0.5f}, {&value, rows, cols}, {&value, rows, cols});
    AddDropout(TestContext(), {.probability = 0.5f}, {&value, rows, cols}, {&value, rows, cols},
               {&value, rows, cols});
  }
  EXPECT_EQ(value, 3);
}

}  // namespace
}  // namespace whipsnake::kernels
