// Operations of training with pauses: the same bits as in one piece, whatever computes in a pause.
#include <cstring>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/activation/activation.h"
#include "kernels/activation/activation_cells.h"
#include "kernels/addition/addition.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/compression/compression.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/workspace.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/dropout/dropout.h"
#include "kernels/embedding/embedding.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/optimizer/optimizer.h"
#include "kernels/product/product.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/selective_scan/selective_scan.h"
#include "kernels/sequence_attention/sequence_attention.h"
#include "tests/kernels/test_matrix.h"

namespace whipsnake::kernels {
namespace {

// All outputs of an operation, one after another.
class Bits {
 public:
  template <typename T>
  void Add(const T* values, int64_t count) {
    const auto* const bytes = reinterpret_cast<const uint8_t*>(values);
    bytes_.insert(bytes_.end(), bytes, bytes + count * static_cast<int64_t>(sizeof(T)));
  }
  template <typename T>
  void Add(const std::vector<T>& values) {
    Add(values.data(), std::ssize(values));
  }
  void Add(const TestMatrix& matrix) {
    for (int64_t r = 0; r < matrix.view().rows; ++r) Add(matrix.view().row(r), matrix.view().cols);
  }
  bool operator==(const Bits&) const = default;

 private:
  std::vector<uint8_t> bytes_;
};

using Operation = std::function<Bits(const Context& context)>;

// Ragged sequences, with room between them and one row at the end.
const std::vector<RowRange> kSequences = {{0, 70}, {70, 1}, {71, 129}, {205, 30}, {235, 65}};
constexpr int64_t kRows = 300, kColumns = 330, kStates = 5;

class Inputs {
 public:
  std::vector<float> Values(int64_t count) { return random_.Vector(count, -1, 1); }
  TestMatrix Matrix(int64_t rows, int64_t cols) { return TestMatrix(rows, cols, random_, -1, 1); }
  int64_t Below(int64_t end) { return random_.Integer(0, end - 1); }

 private:
  Random random_{1};
};

void AddProducts(Inputs& inputs, std::map<std::string, Operation>& operations) {
  struct Shape {
    const char* name;
    int64_t m, n, k;
  };
  // A block of few terms, many slabs, more lines than a panel has, and more columns than rows.
  for (const Shape& shape : {Shape{"small", 300, 90, 40}, Shape{"deep", 600, 330, 1700},
                             Shape{"wide", 4200, 4100, 3}, Shape{"flat", 70, 900, 800}}) {
    for (const DType arithmetic : {DType::kF32, DType::kBF16}) {
      for (const bool transposed : {false, true}) {
        if (shape.m > 4000 && (transposed || arithmetic != DType::kF32)) continue;  // slow
        const TestMatrix a =
            inputs.Matrix(transposed ? shape.k : shape.m, transposed ? shape.m : shape.k);
        const TestMatrix b = inputs.Matrix(shape.k, shape.n);
        const TestMatrix start = inputs.Matrix(shape.m, shape.n);
        const std::string name = std::string("product ") + shape.name +
                                 (arithmetic == DType::kF32 ? " fp32" : " bf16") +
                                 (transposed ? " transposed" : "");
        operations[name] = [=](const Context& context) {
          TestMatrix c = start;
          Product(context, arithmetic,
                  {.a = ProductOperand(a.view(), transposed),
                   .b = b.view(),
                   .accumulate = transposed,
                   .c = c.view()});
          Bits bits;
          bits.Add(c);
          return bits;
        };
      }
    }
  }
  const TestMatrix g = inputs.Matrix(kRows, kColumns);
  operations["column sums"] = [=](const Context& context) {
    std::vector<float> sums(kColumns);
    AddColumnSums(context, g.view(), sums.data());
    Bits bits;
    bits.Add(sums);
    return bits;
  };
}

void AddAttention(Inputs& inputs, std::map<std::string, Operation>& operations) {
  constexpr int64_t kHeads = 3, kWidth = 3 * 40;
  const TestMatrix q = inputs.Matrix(kRows, kWidth), k = inputs.Matrix(kRows, kWidth),
                   v = inputs.Matrix(kRows, kWidth), g = inputs.Matrix(kRows, kWidth);
  operations["attention"] = [=](const Context& context) {
    const SequenceAttentionOperands operands{.q = q.view(),
                                             .k = k.view(),
                                             .v = v.view(),
                                             .heads = kHeads,
                                             .scale = 0.2f,
                                             .dropout = {0.2f, 1, 2}};
    TestMatrix y(kRows, kWidth), gq = y, gk = y, gv = y;
    std::vector<float> lse(kRows * kHeads);
    SequenceAttention(context, kSequences, operands, y.view(), lse.data());
    SequenceAttentionBackward(context, kSequences, operands, y.view(), lse.data(), g.view(),
                              {gq.view(), gk.view(), gv.view()});
    Bits bits;
    for (const TestMatrix* matrix : {&y, &gq, &gk, &gv}) bits.Add(*matrix);
    bits.Add(lse);
    return bits;
  };
}

void AddScan(Inputs& inputs, std::map<std::string, Operation>& operations) {
  const TestMatrix x = inputs.Matrix(kRows, kColumns), delta = inputs.Matrix(kRows, kColumns),
                   z = inputs.Matrix(kRows, kColumns), g = inputs.Matrix(kRows, kColumns),
                   b = inputs.Matrix(kRows, kStates), c = inputs.Matrix(kRows, kStates);
  const std::vector<float> bias = inputs.Values(kColumns), d = inputs.Values(kColumns);
  std::vector<float> a = inputs.Values(kStates * kColumns);
  for (float& value : a) value = -std::abs(value);
  operations["scan"] = [=](const Context& context) {
    TestMatrix y(kRows, kColumns), gx = y, gdelta = y, gz = y, gb(kRows, kStates), gc = gb;
    SelectiveScanOperands operands{.x = x.view(),
                                   .delta = delta.view(),
                                   .delta_bias = bias.data(),
                                   .a = a.data(),
                                   .b = b.view(),
                                   .c = c.view(),
                                   .d = d.data(),
                                   .z = z.view(),
                                   .y = y.view()};
    std::vector<float> states(ScanChunks(kSequences) * kStates * kColumns);
    std::vector<float> gbias(kColumns), ga(kStates * kColumns), gd(kColumns);
    SelectiveScanForTraining(context, kSequences, operands, states.data());
    SelectiveScanBackward(context, kSequences, operands, states.data(), g.view(),
                          {.x = gx.view(),
                           .delta = gdelta.view(),
                           .b = gb.view(),
                           .c = gc.view(),
                           .z = gz.view(),
                           .delta_bias = gbias.data(),
                           .a = ga.data(),
                           .d = gd.data()});
    Bits bits;
    for (const TestMatrix* matrix : {&y, &gx, &gdelta, &gz, &gb, &gc}) bits.Add(*matrix);
    for (const auto* values : {&states, &gbias, &ga, &gd}) bits.Add(*values);
    return bits;
  };

  constexpr int64_t kWidth = 4;
  const std::vector<float> weight = inputs.Values(kWidth * kColumns);
  operations["convolution"] = [=](const Context& context) {
    TestMatrix y(kRows, kColumns), gx = y;
    std::vector<float> states((kWidth - 1) * kColumns * kSequences.size());
    std::vector<float> gweight(kWidth * kColumns), gbias(kColumns);
    std::vector<ConvRun> runs;
    for (const RowRange& sequence : kSequences) {
      runs.push_back({sequence.begin, sequence.length,
                      states.data() + (kWidth - 1) * kColumns * std::ssize(runs)});
    }
    CausalConv1dSilu(context, runs, x.view(), weight.data(), bias.data(), kWidth, y.view());
    CausalConv1dSiluBackward(context, kSequences, x.view(), weight.data(), bias.data(), kWidth,
                             g.view(), {gx.view(), gweight.data(), gbias.data()});
    Bits bits;
    bits.Add(y);
    bits.Add(gx);
    bits.Add(gweight);
    bits.Add(gbias);
    return bits;
  };
}

void AddNorms(Inputs& inputs, std::map<std::string, Operation>& operations) {
  const TestMatrix x = inputs.Matrix(kRows, kColumns), g = inputs.Matrix(kRows, kColumns);
  const std::vector<float> gamma = inputs.Values(kColumns), beta = inputs.Values(kColumns);
  operations["layer norm"] = [=](const Context& context) {
    TestMatrix r = x, y(kRows, kColumns), gx = g, normalized = y, other = g;
    std::vector<float> ggamma(kColumns), gbeta(kColumns), rstd(kRows);
    const LayerNormWeights weights{gamma.data(), beta.data(), 1e-5f};
    ResidualLayerNorm(context, g.view(), r.view(), weights, y.view());
    LayerNormBackward(context, x.view(), weights, g.view(),
                      {gx.view(), ggamma.data(), gbeta.data()});
    LayerNormalize(context, x.view(), 1e-5f, normalized.view(), rstd.data());
    NormalizedLayerNormBackward(context, normalized.view(), rstd.data(), gamma.data(), g.view(),
                                {other.view(), ggamma.data(), gbeta.data()});
    Bits bits;
    for (const TestMatrix* matrix : {&r, &y, &gx, &normalized, &other}) bits.Add(*matrix);
    for (const auto* values : {&ggamma, &gbeta, &rstd}) bits.Add(*values);
    return bits;
  };
  operations["rms norm"] = [=](const Context& context) {
    TestMatrix r = x, y(kRows, kColumns), gx = g, normalized = y, other = g;
    std::vector<float> ggamma(kColumns), rstd(kRows);
    ResidualRmsNorm(context, g.view(), r.view(), gamma.data(), 1e-5f, y.view());
    RmsNormBackward(context, x.view(), gamma.data(), 1e-5f, g.view(), gx.view(), ggamma.data());
    RmsNormalize(context, x.view(), 1e-5f, normalized.view(), rstd.data());
    NormalizedRmsNormBackward(context, normalized.view(), rstd.data(), gamma.data(), g.view(),
                              other.view(), ggamma.data());
    Bits bits;
    for (const TestMatrix* matrix : {&r, &y, &gx, &normalized, &other}) bits.Add(*matrix);
    bits.Add(ggamma);
    bits.Add(rstd);
    return bits;
  };
}

void AddUpdates(Inputs& inputs, std::map<std::string, Operation>& operations) {
  constexpr int64_t kCount = 50'001;
  const std::vector<float> g = inputs.Values(kCount), w = inputs.Values(kCount);
  const auto add_measure = [](const UpdateMeasure& measure, Bits& bits) { bits.Add(&measure, 1); };
  operations["adamw"] = [=](const Context& context) {
    std::vector<float> value = w, m(kCount), v(kCount);
    std::vector<uint16_t> rounded(kCount);
    UpdateMeasure measure;
    Bits bits;
    for (int64_t step : {1, 2}) {
      Update(context, AdamW{.learning_rate = 0.1, .weight_decay = 0.1, .step = step}, g.data(),
             kCount, value.data(), m.data(), v.data(), rounded.data(), &measure);
      add_measure(measure, bits);
    }
    bits.Add(value);
    bits.Add(m);
    bits.Add(v);
    bits.Add(rounded);
    return bits;
  };
  operations["adamw in 8 bits"] = [=](const Context& context) {
    std::vector<float> value = w, m_scale(MomentBlocks(kCount)), v_scale(MomentBlocks(kCount));
    std::vector<uint8_t> m(kCount), v(kCount);
    for (int64_t step : {1, 2}) {
      Update(context, AdamW{.learning_rate = 0.1, .step = step}, g.data(), kCount, value.data(),
             Moments8{m.data(), v.data(), m_scale.data(), v_scale.data()});
    }
    Bits bits;
    for (const auto* values : {&value, &m_scale, &v_scale}) bits.Add(*values);
    bits.Add(m);
    bits.Add(v);
    return bits;
  };
  operations["sgd"] = [=](const Context& context) {
    std::vector<float> value = w, m(kCount);
    Update(context, Sgd{.learning_rate = 0.1, .momentum = 0.9}, g.data(), kCount, value.data(),
           m.data());
    const double squares = SumOfSquares(context, g.data(), kCount);
    Bits bits;
    bits.Add(value);
    bits.Add(m);
    bits.Add(&squares, 1);
    return bits;
  };
}

void AddLosses(Inputs& inputs, std::map<std::string, Operation>& operations) {
  const TestMatrix logits = inputs.Matrix(kRows, kColumns);
  const std::vector<float> factors = inputs.Values(kRows);
  std::vector<int32_t> targets(kRows), tokens(kRows);
  for (int32_t& target : targets) target = static_cast<int32_t>(inputs.Below(kColumns));
  for (int32_t& token : tokens) token = static_cast<int32_t>(inputs.Below(50));
  operations["cross entropy"] = [=](const Context& context) {
    TestMatrix gradient = logits;
    std::vector<float> losses(2 * kRows);
    std::vector<int32_t> predictions(kRows);
    CrossEntropyOperands operands{targets, 0.1f, losses.data(), predictions.data()};
    CrossEntropy(context, logits.view(), operands);
    operands.losses += kRows;
    CrossEntropyWithGradient(context, gradient.view(), factors.data(), operands);
    Bits bits;
    bits.Add(gradient);
    bits.Add(losses);
    bits.Add(predictions);
    return bits;
  };
  const std::vector<float> table = inputs.Values(50 * kColumns),
                           positions = inputs.Values(kRows * kColumns);
  operations["embedding"] = [=](const Context& context) {
    const EmbeddingRun run{tokens, 0};
    TestMatrix y(kRows, kColumns);
    std::vector<float> gtokens(table.size()), gpositions(positions.size());
    Embed(context, {&run, 1},
          {.tokens = {table.data(), {DType::kF32}, 50, kColumns}, .positions = positions.data()},
          y.view());
    EmbedBackward(context, {&run, 1}, logits.view(), gtokens.data(), gpositions.data());
    Bits bits;
    bits.Add(y);
    bits.Add(gtokens);
    bits.Add(gpositions);
    return bits;
  };
}

void AddElementwise(Inputs& inputs, std::map<std::string, Operation>& operations) {
  const TestMatrix x = inputs.Matrix(kRows, kColumns), g = inputs.Matrix(kRows, kColumns);
  operations["dropout and addition"] = [=](const Context& context) {
    TestMatrix y(kRows, kColumns), sum = y, plain = y, copy = y;
    Dropout(context, {0.3f, 1, 2}, x.view(), y.view());
    AddDropout(context, {0.3f, 1, 2}, x.view(), g.view(), sum.view());
    Add(context, x.view(), g.view(), plain.view());
    Dropout(context, {}, x.view(), copy.view());
    Bits bits;
    for (const TestMatrix* matrix : {&y, &sum, &plain, &copy}) bits.Add(*matrix);
    return bits;
  };
  constexpr int64_t kCount = 50'001;
  const std::vector<float> values = inputs.Values(kCount), gradients = inputs.Values(kCount);
  operations["activation"] = [=](const Context& context) {
    const ActivationFunction crrelu{Activation::kCRRelu, 0.1f};
    std::vector<float> y(kCount), gx(kCount), from_cells(kCount);
    std::vector<uint8_t> cells(ActivationCellBytes(kCount));
    Activate(context, crrelu, values.data(), kCount, y.data());
    EncodeCells(context, kAlignedCells, values.data(), kCount, cells.data());
    const double sums[] = {
        ActivateBackward(context, crrelu, values.data(), gradients.data(), kCount, gx.data()),
        ActivateBackwardFromCells(context, MakeActivationCellTable(crrelu, kAlignedCells),
                                  cells.data(), gradients.data(), kCount, from_cells.data())};
    Bits bits;
    for (const auto* vector : {&y, &gx, &from_cells}) bits.Add(*vector);
    bits.Add(cells);
    bits.Add(sums, 2);
    return bits;
  };
  operations["compression"] = [=](const Context& context) {
    std::vector<uint8_t> codes(EncodedBytes(kInt8, kRows, kColumns));
    std::vector<uint8_t> groups(GroupBytes(kRows, kColumns));
    std::vector<uint16_t> halves(kRows * kColumns);
    const int64_t kept = KeptElements(0.1, kRows, kColumns);
    std::vector<int32_t> indices(kept);
    std::vector<float> largest(kept);
    TestMatrix decoded[] = {TestMatrix(kRows, kColumns), TestMatrix(kRows, kColumns),
                            TestMatrix(kRows, kColumns), TestMatrix(kRows, kColumns)};
    const int64_t saturated = Encode(context, kInt8, x.view(), codes.data());
    EncodeGroups(context, x.view(), groups.data());
    EncodeBF16(context, x.view(), halves.data());
    Prune(context, x.view(), kept, indices.data(), largest.data());
    Decode(context, kInt8, codes.data(), decoded[0].view());
    DecodeGroups(context, groups.data(), decoded[1].view());
    DecodeBF16(context, halves.data(), decoded[2].view());
    Unprune(context, indices.data(), largest.data(), kept, decoded[3].view());
    Bits bits;
    bits.Add(&saturated, 1);
    bits.Add(codes);
    bits.Add(groups);
    bits.Add(halves);
    bits.Add(indices);
    bits.Add(largest);
    for (const TestMatrix& matrix : decoded) bits.Add(matrix);
    return bits;
  };
}

std::map<std::string, Operation> OperationsOfTraining() {
  Inputs inputs;
  std::map<std::string, Operation> operations;
  AddProducts(inputs, operations);
  AddAttention(inputs, operations);
  AddScan(inputs, operations);
  AddNorms(inputs, operations);
  AddUpdates(inputs, operations);
  AddLosses(inputs, operations);
  AddElementwise(inputs, operations);
  return operations;
}

// The team of a context, with pauses in which other operations use the same team and overwrite the
// scratch memory of another workspace.
class PausingContext {
 public:
  PausingContext(int threads, double piece)
      : cpu_(threads), pauses_{[this] { ComputeOther(); }, piece}, context_(cpu_.context()) {
    context_.workspace = &workspace_;
    context_.pauses = &pauses_;
  }

  const Context& context() const { return context_; }
  int64_t count() const { return count_; }

 private:
  void ComputeOther() {
    ++count_;
    const TestMatrix a(20, 30), b(30, 40);
    TestMatrix c(20, 40);
    Product(cpu_.context(), DType::kBF16, {.a = a.view(), .b = b.view(), .c = c.view()});
    ForEachShare(cpu_.context(), [](const Context& own, int64_t) {
      std::memset(OperationScratch(own).Get<char>(1 << 12), 0xff, 1 << 12);
    });
  }

  CpuContext cpu_;
  Workspace workspace_;
  Pauses pauses_;
  Context context_;
  int64_t count_ = 0;
};

TEST(PausesTest, NoResultDependsOnThem) {
  for (const auto& [name, operation] : OperationsOfTraining()) {
    const Bits whole = operation(Context());
    for (const int threads : {1, 3}) {
      for (const double piece : {500.0, 20'000.0}) {
        const PausingContext pausing(threads, piece);
        EXPECT_TRUE(operation(pausing.context()) == whole)
            << name << ", " << threads << " threads, pieces of " << piece;
        if (piece == 500) {
          EXPECT_GT(pausing.count(), 0) << name;
        }
      }
    }
  }
}

// The work between two pauses is what `piece` says, for each thread, or one part for each.
TEST(PausesTest, PiecesAreAsLongAsAskedFor) {
  for (const int threads : {1, 2, 3}) {
    for (const double piece : {1000.0, 20'000.0, 1e9}) {
      const PausingContext pausing(threads, piece);
      constexpr int64_t kCount = 1000;
      constexpr double kEach = 500;
      int64_t first = 0, longest = 0;
      ForEachPiece(pausing.context(), kCount, kEach * kCount, [&](int64_t begin, int64_t end) {
        EXPECT_EQ(begin, first);
        longest = std::max(longest, end - begin);
        first = end;
      });
      EXPECT_EQ(first, kCount);
      EXPECT_EQ(longest, std::min<int64_t>(kCount, static_cast<int64_t>(piece / kEach) * threads));
      EXPECT_EQ(pausing.count(), (kCount - 1) / longest);
    }
  }
}

TEST(PausesTest, AShareNeverPauses) {
  const PausingContext pausing(3, 1);
  ForEachShare(pausing.context(), [](const Context& own, int64_t) {
    EXPECT_EQ(own.pauses, nullptr);
    Pause(own);
  });
  EXPECT_EQ(pausing.count(), 0);
}

}  // namespace
}  // namespace whipsnake::kernels
