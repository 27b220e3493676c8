#include "kernels/embedding/embedding.h"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/test_context.h"

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
