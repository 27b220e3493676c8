#include "kernels/embedding/embedding.h"

#include <cstring>
#include <initializer_list>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kTokens = 37, kPositions = 600;

// Random tables of one width and type.
class Tables {
 public:
  Tables(DType dtype, int64_t width, bool positions) : dtype_(dtype), width_(width) {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < kTokens * width; ++i) Append(normal(random));
    for (int64_t v = 0; v < kTokens; ++v) scale_.push_back(0.01f + static_cast<float>(v) / 100);
    if (!positions) return;
    for (int64_t i = 0; i < kPositions * width; ++i) positions_.push_back(normal(random));
  }

  EmbeddingTables view() const {
    return {{bytes_.data(), {dtype_}, kTokens, width_},
            scale_.data(),
            positions_.empty() ? nullptr : positions_.data()};
  }

 private:
  template <typename T>
  void AppendAs(T value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof(value));
  }
  void Append(float value) {
    if (dtype_ == DType::kF32) return AppendAs(value);
    if (dtype_ == DType::kBF16) return AppendAs(ToBF16(value));
    AppendAs(ToCode(value * 40));
  }

  const DType dtype_;
  const int64_t width_;
  std::vector<std::byte> bytes_;
  std::vector<float> scale_, positions_;
};

class EmbedTest : public testing::TestWithParam<DType> {};

TEST_P(EmbedTest, IsTheReferenceBitForBit) {
  std::mt19937 random(1);
  for (const int64_t width : {1, 15, 64, 129, 768}) {
    for (const bool positions : {false, true}) {
      const Tables tables(GetParam(), width, positions);
      std::vector<std::vector<int32_t>> tokens;
      std::vector<EmbeddingRun> runs;
      int64_t rows = 0;
      for (const int64_t length : {1, 0, 3, 500, 1}) {
        auto& ids = tokens.emplace_back(length);
        for (int32_t& id : ids) id = static_cast<int32_t>(random() % kTokens);
        rows += length;
      }
      for (const auto& ids : tokens) runs.push_back({ids, static_cast<int64_t>(random() % 100)});
      std::vector<float> y(rows * width, -1), expected(rows * width, -2);
      Embed(TestContext(), runs, tables.view(), {y.data(), rows, width});
      reference::Embed(runs, tables.view(), {expected.data(), rows, width});
      EXPECT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0)
          << width << (positions ? " with positions" : "");
    }
  }
}

TEST_P(EmbedTest, ReachesTheLastTokenAndTheLastPosition) {
  constexpr int64_t kWidth = 33;
  const Tables tables(GetParam(), kWidth, /*positions=*/true);
  const std::vector<int32_t> tokens = {kTokens - 1, 0};
  const EmbeddingRun run{tokens, kPositions - 2};
  std::vector<float> y(2 * kWidth), expected(2 * kWidth);
  Embed(TestContext(), {&run, 1}, tables.view(), {y.data(), 2, kWidth});
  reference::Embed({&run, 1}, tables.view(), {expected.data(), 2, kWidth});
  EXPECT_EQ(y, expected);
}

TEST_P(EmbedTest, OfNothingWritesNothing) {
  const Tables tables(GetParam(), 4, /*positions=*/true);
  Embed(TestContext(), {}, tables.view(), {nullptr, 0, 4});
}

INSTANTIATE_TEST_SUITE_P(Types, EmbedTest, testing::Values(DType::kF32, DType::kBF16, DType::kI8),
                         [](const auto& type) { return std::string(Name(type.param)); });

// Runs of random tokens; few of the tokens are frequent, as in a text.
class Batch {
 public:
  Batch(std::initializer_list<int64_t> lengths, Random& random) {
    for (const int64_t length : lengths) {
      auto& ids = tokens_.emplace_back(length);
      for (int32_t& id : ids) {
        id = static_cast<int32_t>(random.Integer(0, random.Integer(0, 1) == 0 ? 2 : kTokens - 1));
      }
      rows_ += length;
    }
    for (const auto& ids : tokens_) runs_.push_back({ids, random.Integer(0, 100)});
  }
  std::span<const EmbeddingRun> runs() const { return runs_; }
  int64_t rows() const { return rows_; }

 private:
  std::vector<std::vector<int32_t>> tokens_;
  std::vector<EmbeddingRun> runs_;
  int64_t rows_ = 0;
};

// What one run of the backward pass adds to.
struct Gradients {
  std::vector<float> tokens, positions;

  Gradients(int64_t width, Random& random)
      : tokens(random.Vector(kTokens * width, -1, 1)),
        positions(random.Vector(kPositions * width, -1, 1)) {}
  bool Identical(const Gradients& other) const {
    return kernels::Identical(tokens, other.tokens) &&
           kernels::Identical(positions, other.positions);
  }
};

TEST(EmbedBackwardTest, IsTheReferenceBitForBitForAnyNumberOfThreads) {
  const CpuContext one(1), two(2), three(3);
  Random random(3);
  for (const int64_t width : {1, 7, 16, 31, 48, 64, 129, 768, 1000}) {
    const Batch batch({1, 0, 3, 400, 1}, random);
    const TestMatrix g(batch.rows(), width, random, -1, 1);
    const Gradients before(width, random);
    Gradients want = before;
    reference::EmbedBackward(batch.runs(), g.view(), want.tokens.data(), want.positions.data());
    for (const CpuContext* cpu : {&one, &two, &three}) {
      Gradients got = before;
      EmbedBackward(cpu->context(), batch.runs(), g.view(), got.tokens.data(),
                    got.positions.data());
      EXPECT_TRUE(got.Identical(want)) << width << ' ' << cpu->threads();
    }
  }
}

TEST(EmbedBackwardTest, ATableThatIsNotWantedMayBeNull) {
  Random random(4);
  constexpr int64_t kWidth = 129;
  const Batch batch({100, 50}, random);
  const TestMatrix g(batch.rows(), kWidth, random, -1, 1);
  Gradients both(kWidth, random);
  Gradients each = both;
  EmbedBackward(TestContext(), batch.runs(), g.view(), both.tokens.data(), both.positions.data());
  EmbedBackward(TestContext(), batch.runs(), g.view(), each.tokens.data(), nullptr);
  EmbedBackward(TestContext(), batch.runs(), g.view(), nullptr, each.positions.data());
  EmbedBackward(TestContext(), batch.runs(), g.view(), nullptr, nullptr);
  EXPECT_TRUE(each.Identical(both));
}

// Sums of small integers are exact, so they count the rows of each token and of each position.
TEST(EmbedBackwardTest, CountsATokenThatRepeatsThousandsOfTimes) {
  constexpr int64_t kWidth = 80, kRows = 5000;
  const std::vector<int32_t> tokens(kRows, 36);
  std::vector<EmbeddingRun> runs;
  for (int64_t begin = 0; begin < kRows; begin += 500) {
    runs.push_back({std::span(tokens).subspan(begin, 500), 100});
  }
  const std::vector<float> g(kRows * kWidth, 1);
  std::vector<float> gtokens(kTokens * kWidth), gpositions(kPositions * kWidth);
  EmbedBackward(TestContext(), runs, {g.data(), kRows, kWidth}, gtokens.data(), gpositions.data());
  for (int64_t i = 0; i < kTokens * kWidth; ++i) {
    ASSERT_EQ(gtokens[i], i / kWidth == 36 ? kRows : 0) << i;
  }
  for (int64_t i = 0; i < kPositions * kWidth; ++i) {
    ASSERT_EQ(gpositions[i], i / kWidth >= 100 ? 10 : 0) << i;
  }
}

// The embedding is linear in its tables: its change along a direction is the inner product of the
// direction and the derivatives.
TEST(EmbedBackwardTest, IsTheTransposeOfTheEmbedding) {
  Random random(5);
  constexpr int64_t kWidth = 48;
  const Batch batch({70, 1, 29}, random);
  const TestMatrix g(batch.rows(), kWidth, random, -1, 1);
  const Gradients direction(kWidth, random);
  TestMatrix y(batch.rows(), kWidth);
  Embed(TestContext(), batch.runs(),
        {{direction.tokens.data(), {DType::kF32}, kTokens, kWidth},
         nullptr,
         direction.positions.data()},
        y.view());
  std::vector<float> gtokens(kTokens * kWidth), gpositions(kPositions * kWidth);
  EmbedBackward(TestContext(), batch.runs(), g.view(), gtokens.data(), gpositions.data());
  double change = 0, product = 0;
  for (int64_t t = 0; t < batch.rows(); ++t) {
    for (int64_t d = 0; d < kWidth; ++d) change += double{g.at(t, d)} * y.at(t, d);
  }
  for (int64_t i = 0; i < kTokens * kWidth; ++i) {
    product += double{direction.tokens[i]} * gtokens[i];
  }
  for (int64_t i = 0; i < kPositions * kWidth; ++i) {
    product += double{direction.positions[i]} * gpositions[i];
  }
  EXPECT_NEAR(change, product, 1e-4);
}

TEST(EmbedBackwardTest, OfNothingAddsNothing) {
  Random random(6);
  Gradients gradients(4, random);
  const Gradients before = gradients;
  EmbedBackward(TestContext(), {}, {nullptr, 0, 4}, gradients.tokens.data(),
                gradients.positions.data());
  const EmbeddingRun empty;
  EmbedBackward(TestContext(), {&empty, 1}, {nullptr, 0, 4}, gradients.tokens.data(),
                gradients.positions.data());
  EXPECT_TRUE(gradients.Identical(before));
}

TEST(CompactRowsTest, IsTheReferenceAndLeavesTheRestAlone) {
  std::mt19937 random(2);
  for (const int64_t cols : {1, 7, 64}) {
    std::vector<float> x(20 * cols);
    for (float& value : x) value = static_cast<float>(random() % 1000);
    std::vector<int64_t> rows;
    for (int64_t row = 0; row < 20; ++row) {
      if (random() % 2 == 0) rows.push_back(row);
    }
    std::vector<float> expected = x;
    CompactRows(TestContext(), rows, {x.data(), 20, cols});
    reference::CompactRows(rows, {expected.data(), 20, cols});
    EXPECT_EQ(x, expected);
  }
}

}  // namespace
}  // namespace whipsnake::kernels
