#include "kernels/attention/attention.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

// The KV blocks of one sequence, laid out as in a model with two layers, of which the tests use the
// second. The blocks are filled with random values.
class Blocks {
 public:
  Blocks(const KvLayout& layout, int64_t positions, Random& random) : layout_(layout) {
    for (int64_t i = 0; i * kKvBlock < positions; ++i) {
      memory_.emplace_back(2 * Aligned() / sizeof(float));
      for (float& value : memory_.back()) value = random.Uniform(-9, 9);
    }
    for (auto& block : memory_) pointers_.push_back(reinterpret_cast<std::byte*>(block.data()));
  }
  Blocks(const Blocks& other) : layout_(other.layout_), memory_(other.memory_) {
    for (auto& block : memory_) pointers_.push_back(reinterpret_cast<std::byte*>(block.data()));
  }

  void Fill(int byte) {
    for (auto& block : memory_) std::memset(block.data(), byte, block.size() * sizeof(float));
  }
  int64_t Aligned() const { return (layout_.bytes() + 63) / 64 * 64; }
  KvBlockTable table() const { return {pointers_.data(), std::ssize(pointers_)}; }

 private:
  KvLayout layout_;
  std::vector<std::vector<float>> memory_;
  std::vector<std::byte*> pointers_;
};

struct Shape {
  int64_t heads, head_dim;
};

struct Sequence {
  TestMatrix q, k, v;
  Blocks blocks;

  Sequence(const KvLayout& layout, int64_t tokens, Random& random)
      : q(tokens, layout.heads * layout.head_dim, random, -2, 2),
        k(tokens, layout.heads * layout.head_dim, random, -2, 2),
        v(tokens, layout.heads * layout.head_dim, random, -2, 2),
        blocks(layout, tokens, random) {}
};

using Function = std::function<void(std::span<const AttentionRun>, const AttentionArguments&)>;

Function Kernel(const Context& context = TestContext()) {
  return [&](auto runs, const auto& arguments) { Attention(context, runs, arguments); };
}

// Processes the whole sequence in calls of the given lengths.
TestMatrix Attend(const Function& attention, Sequence s, const KvLayout& layout, bool causal,
                  const std::vector<int64_t>& lengths) {
  TestMatrix y(s.q.view().rows, s.q.view().cols);
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    const AttentionRun run{0, length, begin, s.blocks.table()};
    attention({&run, 1}, {.q = s.q.view().Rows(begin, length),
                          .k = s.k.view().Rows(begin, length),
                          .v = s.v.view().Rows(begin, length),
                          .layout = layout,
                          .offset = s.blocks.Aligned(),
                          .scale = 1 / std::sqrt(static_cast<float>(layout.head_dim)),
                          .causal = causal,
                          .y = y.view().Rows(begin, length)});
    begin += length;
  }
  return y;
}

class AttentionTest : public ::testing::TestWithParam<DType> {
 protected:
  static KvLayout LayoutOf(const Shape& shape) { return {GetParam(), shape.heads, shape.head_dim}; }
};

constexpr Shape kShapes[] = {{1, 1}, {3, 8}, {2, 12}, {1, 33}, {2, 64}, {1, 100}};

TEST_P(AttentionTest, AgreesWithTheReference) {
  Random random(1);
  for (const Shape& shape : kShapes) {
    for (const int64_t tokens : {1, 2, 23, 24, 25, 31, 32, 33, 65, 130}) {
      for (const bool causal : {true, false}) {
        const KvLayout layout = LayoutOf(shape);
        const Sequence s(layout, tokens, random);
        const TestMatrix y = Attend(Kernel(), s, layout, causal, {tokens});
        const TestMatrix want = Attend(reference::Attention, s, layout, causal, {tokens});
        ASSERT_TRUE(y.GapsIntact());
        for (int64_t i = 0; i < tokens; ++i) {
          for (int64_t c = 0; c < shape.heads * shape.head_dim; ++c) {
            // Values are at most 2, so the error of their mean is bounded by the errors of values
            // and weights.
            ASSERT_NEAR(y.at(i, c), want.at(i, c), 4e-6)
                << shape.heads << "x" << shape.head_dim << " " << tokens << " " << causal << " at "
                << i << "," << c;
          }
        }
      }
    }
  }
}

TEST_P(AttentionTest, DoesNotDependOnHowASequenceIsCut) {
  Random random(2);
  for (const Shape& shape : kShapes) {
    const KvLayout layout = LayoutOf(shape);
    const Sequence s(layout, 100, random);
    const TestMatrix whole = Attend(Kernel(), s, layout, true, {100});
    EXPECT_TRUE(whole.Identical(Attend(Kernel(), s, layout, true, std::vector<int64_t>(100, 1))))
        << "one by one";
    for (int i = 0; i < 5; ++i) {
      EXPECT_TRUE(whole.Identical(Attend(Kernel(), s, layout, true, RandomSplit(100, random))));
    }
    const Context one_thread;
    EXPECT_TRUE(whole.Identical(Attend(Kernel(one_thread), s, layout, true, {100})))
        << "one thread";
  }
}

TEST_P(AttentionTest, SequencesOfABatchDoNotMeet) {
  Random random(3);
  const KvLayout layout = LayoutOf({2, 16});
  const int64_t lengths[] = {1, 40, 7, 0, 70};
  std::vector<Sequence> alone;
  for (const int64_t length : lengths) alone.emplace_back(layout, length, random);
  TestMatrix q(118, 32), k(118, 32), v(118, 32), y(118, 32);
  std::vector<AttentionRun> runs;
  std::vector<Blocks> blocks;
  for (const Sequence& s : alone) blocks.push_back(s.blocks);
  int64_t begin = 0;
  for (size_t r = 0; r < alone.size(); ++r) {
    for (int64_t i = 0; i < lengths[r]; ++i) {
      for (int64_t c = 0; c < 32; ++c) {
        q.view().row(begin + i)[c] = alone[r].q.at(i, c);
        k.view().row(begin + i)[c] = alone[r].k.at(i, c);
        v.view().row(begin + i)[c] = alone[r].v.at(i, c);
      }
    }
    runs.push_back({begin, lengths[r], 0, blocks[r].table()});
    begin += lengths[r];
  }
  Attention(TestContext(), runs,
            {.q = q.view(),
             .k = k.view(),
             .v = v.view(),
             .layout = layout,
             .offset = blocks[0].Aligned(),
             .scale = 0.25f,
             .y = y.view()});
  for (size_t r = 0; r < alone.size(); ++r) {
    const TestMatrix want = Attend(Kernel(), alone[r], layout, true, {lengths[r]});
    for (int64_t i = 0; i < lengths[r]; ++i) {
      for (int64_t c = 0; c < 32; ++c) EXPECT_EQ(y.at(runs[r].begin + i, c), want.at(i, c));
    }
  }
}

// Scores that lie far apart: the weights must not overflow, and the running sum must be rescaled
// when a larger score arrives.
TEST_P(AttentionTest, LateAndLargeScoresWin) {
  Random random(4);
  const KvLayout layout = LayoutOf({1, 4});
  Sequence s(layout, 90, random);
  for (int64_t i = 0; i < 90; ++i) {
    for (int64_t d = 0; d < 4; ++d) {
      s.q.view().row(i)[d] = 100;
      s.k.view().row(i)[d] = static_cast<float>(i);
      s.v.view().row(i)[d] = static_cast<float>(i + 1);
    }
  }
  const TestMatrix y = Attend(Kernel(), s, layout, true, {90});
  for (int64_t i = 0; i < 90; ++i) EXPECT_NEAR(y.at(i, 0), i + 1.0f, (i + 1) * 1e-6);
}

// A row does not depend on positions that it does not attend to, whatever they contain and however
// the sequence is cut. Rows before a NaN or an infinity have the same bits as without it; rows
// after it see it.
TEST_P(AttentionTest, NoRowSeesWhatIsLater) {
  const float kInfinity = std::numeric_limits<float>::infinity();
  constexpr int64_t kTokens = 100;
  Random random(5);
  for (const Shape& shape : kShapes) {
    const KvLayout layout = LayoutOf(shape);
    const Sequence clean(layout, kTokens, random);
    const TestMatrix want = Attend(Kernel(), clean, layout, true, {kTokens});
    for (const float value : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
      for (const int64_t at : {1, 20, 23, 24, 31, 32, 70, 99}) {
        for (const bool key : {false, true}) {
          Sequence s = clean;
          (key ? s.k : s.v).view().row(at)[0] = value;
          for (const std::vector<int64_t>& lengths :
               {std::vector<int64_t>{kTokens}, RandomSplit(kTokens, random),
                std::vector<int64_t>(kTokens, 1)}) {
            const TestMatrix y = Attend(Kernel(), s, layout, true, lengths);
            for (int64_t i = 0; i < at; ++i) {
              for (int64_t c = 0; c < want.view().cols; ++c) {
                ASSERT_EQ(y.at(i, c), want.at(i, c))
                    << (key ? "key " : "value ") << value << " at " << at << " seen by " << i;
              }
            }
            // int8 codes have no NaN. An infinite key may give a score of either sign.
            if (GetParam() == DType::kI8 || key) continue;
            for (int64_t i = at; i < kTokens; ++i) ASSERT_FALSE(std::isfinite(y.at(i, 0))) << i;
            if (shape.head_dim > 1) {
              ASSERT_TRUE(std::isfinite(y.at(kTokens - 1, 1)));
            }
          }
        }
      }
    }
  }
}

// Positions of a block past the end of the sequence hold leftovers of other sequences.
TEST_P(AttentionTest, WhatIsPastTheEndIsNotRead) {
  Random random(6);
  const KvLayout layout = LayoutOf({2, 24});
  for (const bool causal : {true, false}) {
    const Sequence s(layout, 40, random);
    Sequence dirty = s;
    dirty.blocks.Fill(0xff);  // NaN as floats, halves and scales
    EXPECT_TRUE(Attend(Kernel(), s, layout, causal, {40})
                    .Identical(Attend(Kernel(), dirty, layout, causal, {40})));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, AttentionTest,
                         ::testing::Values(DType::kF32, DType::kBF16, DType::kI8),
                         [](const auto& test) { return std::string(Name(test.param)); });

// A block whose last positions were cleared equals one to which only the first were written.
TEST(ClearKvPositionsTest, LeavesOnlyTheFirstPositions) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    const KvLayout layout{dtype, /*heads=*/2, /*head_dim=*/12};
    const int64_t width = layout.heads * layout.head_dim;
    Random random(9);
    const TestMatrix q(kKvBlock, width, random, -1, 1), k(kKvBlock, width, random, -1, 1);
    TestMatrix y(kKvBlock, width);
    const auto write = [&](int64_t positions, std::vector<std::byte>& block) {
      std::byte* address = block.data();
      const AttentionRun run{0, positions, 0, {&address, 1}};
      const auto first = [&](MatrixView<const float> matrix) { return matrix.Rows(0, positions); };
      Attention(TestContext(), {&run, 1},
                {.q = first(q.view()),
                 .k = first(k.view()),
                 .v = first(k.view()),
                 .layout = layout,
                 .offset = 0,
                 .scale = 1,
                 .causal = true,
                 .y = y.view().Rows(0, positions)});
    };
    for (const int64_t first : {int64_t{0}, int64_t{1}, int64_t{17}, kKvBlock - 1, kKvBlock}) {
      std::vector<std::byte> whole(layout.bytes()), part(layout.bytes());
      write(kKvBlock, whole);
      write(first, part);
      ClearKvPositions(TestContext(), layout, first, whole.data());
      EXPECT_EQ(whole, part) << Name(dtype) << " from " << first;
    }
  }
}

}  // namespace
}  // namespace whipsnake::kernels
