#include "kernels/sequence_attention/sequence_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "hwy/aligned_allocator.h"
#include "kernels/attention/attention.h"
#include "kernels/cpu/cpu_context.h"
#include "tests/kernels/test_context.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kWidths[] = {1, 8, 33, 64, 96, 128, 256, 300};

struct Shape {
  int64_t heads, width;  // H, D
};

struct Options {
  bool causal = true;
  float dropout = 0;
};

// The inputs of both passes. q, k and v are columns of one matrix.
struct Inputs {
  Shape shape;
  TestMatrix qkv, g;

  Inputs(int64_t rows, const Shape& s, Random& random, float largest = 1)
      : shape(s),
        qkv(rows, 3 * s.heads * s.width, random, -largest, largest),
        g(rows, s.heads * s.width, random, -1, 1) {}

  int64_t Columns() const { return shape.heads * shape.width; }
  MatrixView<float> Part(int64_t part) { return qkv.view().Columns(part * Columns(), Columns()); }
  SequenceAttentionOperands Operands(const Options& options) const {
    const auto part = [&](int64_t n) { return qkv.view().Columns(n * Columns(), Columns()); };
    return {.q = part(0),
            .k = part(1),
            .v = part(2),
            .heads = shape.heads,
            .scale = 1 / std::sqrt(static_cast<float>(shape.width)),
            .causal = options.causal,
            .dropout = {options.dropout, 0x123456789abc, 42}};
  }
};

// The outputs of both passes.
struct Outputs {
  TestMatrix y, lse, gq, gk, gv;

  explicit Outputs(const Inputs& inputs)
      : y(inputs.g.view().rows, inputs.Columns()),
        lse(inputs.g.view().rows, inputs.shape.heads, /*gap=*/0),
        gq(y),
        gk(y),
        gv(y) {}

  SequenceAttentionGradients Gradients() { return {gq.view(), gk.view(), gv.view()}; }
  std::vector<const TestMatrix*> All() const { return {&y, &lse, &gq, &gk, &gv}; }
};
constexpr const char* kOutputNames[] = {"y", "lse", "gq", "gk", "gv"};

Outputs Compute(const Context& context, std::span<const RowRange> sequences, const Inputs& inputs,
                const Options& options) {
  Outputs out(inputs);
  const SequenceAttentionOperands operands = inputs.Operands(options);
  SequenceAttention(context, sequences, operands, out.y.view(), out.lse.view().data);
  SequenceAttentionBackward(context, sequences, operands, out.y.view(), out.lse.view().data,
                            inputs.g.view(), out.Gradients());
  return out;
}

Outputs Reference(std::span<const RowRange> sequences, const Inputs& inputs,
                  const Options& options) {
  Outputs out(inputs);
  const SequenceAttentionOperands operands = inputs.Operands(options);
  reference::SequenceAttention(sequences, operands, out.y.view(), out.lse.view().data);
  reference::SequenceAttentionBackward(sequences, operands, inputs.g.view(), out.Gradients());
  return out;
}

float Largest(const TestMatrix& matrix) {
  float largest = 0;
  for (int64_t r = 0; r < matrix.view().rows; ++r) {
    for (int64_t c = 0; c < matrix.view().cols; ++c) {
      if (matrix.at(r, c) != TestMatrix::kGap)
        largest = std::max(largest, std::abs(matrix.at(r, c)));
    }
  }
  return largest;
}

// Errors are relative to the largest element of each output. Rows of no sequence hold kGap in both.
void ExpectClose(const Outputs& got, const Outputs& want, float tolerance) {
  for (size_t n = 0; n < got.All().size(); ++n) {
    const TestMatrix &a = *got.All()[n], &b = *want.All()[n];
    ASSERT_TRUE(a.GapsIntact()) << kOutputNames[n];
    const float bound = tolerance * std::max(Largest(b), 0.1f);
    for (int64_t r = 0; r < a.view().rows; ++r) {
      for (int64_t c = 0; c < a.view().cols; ++c) {
        ASSERT_NEAR(a.at(r, c), b.at(r, c), bound) << kOutputNames[n] << " " << r << "," << c;
      }
    }
  }
}

void ExpectIdentical(const Outputs& got, const Outputs& want) {
  for (size_t n = 0; n < got.All().size(); ++n) {
    EXPECT_TRUE(got.All()[n]->Identical(*want.All()[n])) << kOutputNames[n];
  }
}

// Lays sequences out from last to first, with a row of no sequence before and after each.
std::vector<RowRange> Sequences(std::span<const int64_t> lengths, int64_t* rows) {
  std::vector<RowRange> sequences;
  *rows = 1;
  for (const int64_t length : lengths) {
    sequences.insert(sequences.begin(), {*rows, length});
    *rows += length + 1;
  }
  return sequences;
}

constexpr int64_t kLengths[] = {1, 2, 31, 32, 33, 64, 100, 257};

class SequenceAttentionTest : public ::testing::TestWithParam<bool> {};

TEST_P(SequenceAttentionTest, AgreesWithTheReference) {
  Random random(1);
  int64_t rows;
  const std::vector<RowRange> sequences = Sequences(kLengths, &rows);
  for (const int64_t width : kWidths) {
    const Inputs inputs(rows, {width > 64 ? 1 : 2, width}, random);
    for (const float dropout : {0.0f, 0.1f, 0.5f}) {
      SCOPED_TRACE(::testing::Message() << "width " << width << " dropout " << dropout);
      const Options options{GetParam(), dropout};
      ExpectClose(Compute(TestContext(), sequences, inputs, options),
                  Reference(sequences, inputs, options), 4e-6f);
    }
  }
}

// Σ g ∘ y of one sequence in fp64, by the definition. operands[n] is q, k or v, [T,H·D] each.
double Loss(const std::vector<double> (&operands)[3], const Inputs& inputs,
            const SequenceAttentionOperands& o) {
  const auto& [q, k, v] = operands;
  const int64_t T = inputs.g.view().rows, D = inputs.shape.width, columns = inputs.Columns();
  double loss = 0;
  for (int64_t h = 0; h < inputs.shape.heads; ++h) {
    for (int64_t i = 0; i < T; ++i) {
      double sum = 0, weighted = 0;
      for (int64_t j = 0; j < (o.causal ? i + 1 : T); ++j) {
        double score = 0, gy = 0;
        for (int64_t c = h * D; c < (h + 1) * D; ++c) {
          score += o.scale * q[i * columns + c] * k[j * columns + c];
          gy += inputs.g.at(i, c) * v[j * columns + c];
        }
        sum += std::exp(score);
        weighted +=
            std::exp(score) * gy * reference::Factor(o.dropout, i * inputs.shape.heads + h, j);
      }
      loss += weighted / sum;
    }
  }
  return loss;
}

TEST_P(SequenceAttentionTest, TheReferenceHasTheSlopeOfTheFunction) {
  Random random(2);
  constexpr int64_t kRows = 7;
  const Shape shape{2, 3};
  const RowRange sequence{0, kRows};
  Inputs inputs(kRows, shape, random);
  std::vector<double> operands[3];
  for (int64_t n = 0; n < 3; ++n) {
    for (int64_t i = 0; i < kRows; ++i) {
      const float* row = inputs.Part(n).row(i);
      operands[n].insert(operands[n].end(), row, row + inputs.Columns());
    }
  }
  for (const float dropout : {0.0f, 0.1f, 0.5f}) {
    const Options options{GetParam(), dropout};
    const Outputs out = Reference({&sequence, 1}, inputs, options);
    const TestMatrix* slopes[] = {&out.gq, &out.gk, &out.gv};
    for (int64_t n = 0; n < 3; ++n) {
      for (int64_t e = 0; e < kRows * inputs.Columns(); ++e) {
        constexpr double kStep = 1e-5;
        const auto loss_at = [&](double step) {
          operands[n][e] += step;
          const double loss = Loss(operands, inputs, inputs.Operands(options));
          operands[n][e] -= step;
          return loss;
        };
        const double slope = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
        const int64_t i = e / inputs.Columns(), c = e % inputs.Columns();
        ASSERT_NEAR(slopes[n]->at(i, c), slope, 1e-7) << n << " at " << i << "," << c;
      }
    }
  }
}

// Training and inference compute the same function.
TEST_P(SequenceAttentionTest, AgreesWithInference) {
  Random random(3);
  for (const int64_t width : kWidths) {
    for (const int64_t length : kLengths) {
      const Inputs inputs(length, {2, width}, random, 2);
      const RowRange sequence{0, length};
      const Options options{GetParam()};
      const Outputs got = Compute(TestContext(), {&sequence, 1}, inputs, options);

      const KvLayout layout{DType::kF32, 2, width};
      const int64_t count = (length + kKvBlock - 1) / kKvBlock;
      const int64_t bytes = (layout.bytes() + 63) / 64 * 64;
      const auto memory = hwy::AllocateAligned<std::byte>(count * bytes);
      std::fill_n(memory.get(), count * bytes, std::byte{0});
      std::vector<std::byte*> blocks;
      for (int64_t i = 0; i < count; ++i) blocks.push_back(memory.get() + i * bytes);
      const AttentionRun run{0, length, 0, {blocks.data(), count}};
      const SequenceAttentionOperands o = inputs.Operands(options);
      TestMatrix want(length, inputs.Columns());
      Attention(TestContext(), {&run, 1},
                {.q = o.q,
                 .k = o.k,
                 .v = o.v,
                 .layout = layout,
                 .scale = o.scale,
                 .causal = o.causal,
                 .y = want.view()});
      for (int64_t i = 0; i < length; ++i) {
        for (int64_t c = 0; c < inputs.Columns(); ++c) {
          ASSERT_NEAR(got.y.at(i, c), want.at(i, c), 4e-6) << width << " " << length;
        }
      }
    }
  }
}

// With scores from -80 to 80 almost every weight is 0, and the largest may come late. A score has a
// rounding error relative to its own magnitude, and so has the logarithm of a weight.
TEST_P(SequenceAttentionTest, LargeScoresNeitherOverflowNorVanish) {
  Random random(4);
  constexpr int64_t kRows = 150;
  Inputs inputs(kRows, {1, 4}, random);
  for (int64_t i = 0; i < kRows; ++i) {
    const float size = random.Uniform(-160, 160);
    for (int64_t d = 0; d < 4; ++d) {
      inputs.Part(0).row(i)[d] = 1;
      inputs.Part(1).row(i)[d] = size / 4;
    }
  }
  const RowRange sequence{0, kRows};
  const Options options{GetParam()};
  ExpectClose(Compute(TestContext(), {&sequence, 1}, inputs, options),
              Reference({&sequence, 1}, inputs, options), 5e-5f);
}

TEST_P(SequenceAttentionTest, DoesNotDependOnTheNumberOfThreads) {
  Random random(5);
  int64_t rows;
  const std::vector<RowRange> sequences = Sequences(kLengths, &rows);
  const Inputs inputs(rows, {3, 33}, random);
  for (const float dropout : {0.0f, 0.1f}) {
    const Options options{GetParam(), dropout};
    const Outputs want = Compute(Context(), sequences, inputs, options);
    for (const int threads : {2, 3}) {
      const CpuContext cpu(threads);
      ExpectIdentical(Compute(cpu.context(), sequences, inputs, options), want);
    }
  }
}

TEST_P(SequenceAttentionTest, SequencesDoNotMeet) {
  Random random(6);
  int64_t rows;
  const std::vector<RowRange> sequences = Sequences(kLengths, &rows);
  const Inputs inputs(rows, {2, 64}, random);
  for (const float dropout : {0.0f, 0.1f}) {
    const Options options{GetParam(), dropout};
    const Outputs among = Compute(TestContext(), sequences, inputs, options);
    for (const RowRange& sequence : sequences) {
      // The other rows are NaN, so that reading any of them shows.
      Inputs alone = inputs;
      for (int64_t i = 0; i < rows; ++i) {
        if (i >= sequence.begin && i < sequence.begin + sequence.length) continue;
        std::fill_n(alone.qkv.view().row(i), alone.qkv.view().cols, std::nanf(""));
        std::fill_n(alone.g.view().row(i), alone.g.view().cols, std::nanf(""));
      }
      const Outputs out = Compute(TestContext(), {&sequence, 1}, alone, options);
      for (size_t n = 0; n < out.All().size(); ++n) {
        const TestMatrix &a = *out.All()[n], &b = *among.All()[n];
        for (int64_t i = 0; i < rows; ++i) {
          const bool inside = i >= sequence.begin && i < sequence.begin + sequence.length;
          for (int64_t c = 0; c < a.view().cols; ++c) {
            ASSERT_EQ(a.at(i, c), inside ? b.at(i, c) : TestMatrix::kGap)
                << kOutputNames[n] << " " << i << "," << c;
          }
        }
      }
    }
  }
}

TEST_P(SequenceAttentionTest, WithoutDropoutTheSequencesPlaceDoesNotMatter) {
  Random random(7);
  const Shape shape{2, 33};
  const Inputs inputs(200, shape, random);
  Inputs moved = inputs;
  for (int64_t i = 0; i < 100; ++i) {
    std::copy_n(inputs.qkv.view().row(i), inputs.qkv.view().cols, moved.qkv.view().row(i + 93));
    std::copy_n(inputs.g.view().row(i), inputs.g.view().cols, moved.g.view().row(i + 93));
  }
  const RowRange first{0, 100}, second{93, 100};
  const Options options{GetParam()};
  const Outputs a = Compute(TestContext(), {&first, 1}, inputs, options);
  const Outputs b = Compute(TestContext(), {&second, 1}, moved, options);
  for (size_t n = 0; n < a.All().size(); ++n) {
    for (int64_t i = 0; i < 100; ++i) {
      for (int64_t c = 0; c < a.All()[n]->view().cols; ++c) {
        ASSERT_EQ(a.All()[n]->at(i, c), b.All()[n]->at(i + 93, c)) << kOutputNames[n];
      }
    }
  }
}

TEST_P(SequenceAttentionTest, AcceptsNoSequences) {
  Random random(8);
  const Inputs inputs(3, {2, 8}, random);
  ExpectIdentical(Compute(TestContext(), {}, inputs, {GetParam()}), Outputs(inputs));
}

INSTANTIATE_TEST_SUITE_P(Masks, SequenceAttentionTest, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "Causal" : "Whole"; });

// NaN and infinity reach only what depends on them: in a causal sequence, no output of rows that
// come before, no gradient of a key or value of a later row, and so on. All other outputs have the
// bits that they have without it.
TEST(CausalSequenceAttentionTest, NonFiniteValuesReachOnlyWhatDependsOnThem) {
  constexpr int64_t kRows = 150;
  Random random(9);
  const Inputs clean(kRows, {1, 8}, random);
  const RowRange sequence{0, kRows};
  const Outputs want = Compute(TestContext(), {&sequence, 1}, clean, {});
  enum Input { kQ, kK, kV, kG };
  enum Output { kY, kLse, kGq, kGk, kGv };
  // Whether row r of the output is independent of row `at` of the input.
  const auto independent = [](Input input, Output output, int64_t r, int64_t at) {
    switch (output) {
      case kY:
        return input == kG || (input == kQ ? r != at : r < at);
      case kLse:
        return input == kG || input == kV || (input == kQ ? r != at : r < at);
      case kGq:
        return input == kQ || input == kG ? r != at : r < at;
      case kGk:
        return (input == kQ || input == kG) && r > at;
      default:
        return input == kV || ((input == kQ || input == kG) && r > at);
    }
  };
  for (const float value : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    for (const Input input : {kQ, kK, kV, kG}) {
      for (const int64_t at : {0, 1, 5, 31, 63, 64, 100, 127, 128, 149}) {
        Inputs inputs = clean;
        (input == kG ? inputs.g.view() : inputs.Part(input)).row(at)[3] = value;
        const Outputs got = Compute(TestContext(), {&sequence, 1}, inputs, {});
        for (const Output output : {kY, kLse, kGq, kGk, kGv}) {
          const TestMatrix &a = *got.All()[output], &b = *want.All()[output];
          for (int64_t r = 0; r < kRows; ++r) {
            if (!independent(input, output, r, at)) continue;
            for (int64_t c = 0; c < a.view().cols; ++c) {
              ASSERT_EQ(a.at(r, c), b.at(r, c)) << "input " << input << " at " << at << " seen by "
                                                << kOutputNames[output] << " of " << r;
            }
          }
        }
        const Output direct[] = {kY, kY, kY, kGv};  // of each input
        ASSERT_FALSE(std::isfinite(got.All()[direct[input]]->at(at, 3)) && std::isnan(value));
      }
    }
  }
}

}  // namespace
}  // namespace whipsnake::kernels
