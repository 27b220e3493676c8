// A layer of GPT-2 124M: 12 heads of width 64, over B causal sequences of T tokens. "FLOP/s" counts
// the products of length D per score, two forward and five backward, and only the causal half of
// the scores.
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/benchmark_context.h"
#include "kernels/sequence_attention/sequence_attention.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kHeads = 12, kWidth = kHeads * 64;

enum class Pass { kForward, kBackward };

void BM_SequenceAttention(benchmark::State& state, Pass pass, float probability) {
  const int64_t count = state.range(0), length = state.range(1), rows = count * length;
  std::vector<RowRange> sequences;
  for (int64_t i = 0; i < count; ++i) sequences.push_back({i * length, length});
  std::vector<float> qkv(rows * 3 * kWidth), gqkv(qkv.size());
  for (size_t i = 0; i < qkv.size(); ++i) qkv[i] = static_cast<float>(i * 37 % 101) * 0.02f - 1;
  std::vector<float> y(rows * kWidth), lse(rows * kHeads);
  const std::vector<float> gradient(rows * kWidth, 0.25f);
  const MatrixView<const float> all(qkv.data(), rows, 3 * kWidth);
  const MatrixView<float> g(gqkv.data(), rows, 3 * kWidth), out(y.data(), rows, kWidth);
  const SequenceAttentionOperands operands{
      .q = all.Columns(0, kWidth),
      .k = all.Columns(kWidth, kWidth),
      .v = all.Columns(2 * kWidth, kWidth),
      .heads = kHeads,
      .scale = 0.125f,
      .dropout = {.probability = probability, .seed = 1, .stream = 2}};
  SequenceAttention(BenchmarkContext(), sequences, operands, out, lse.data());
  for (auto _ : state) {
    if (pass == Pass::kForward) {
      SequenceAttention(BenchmarkContext(), sequences, operands, out, lse.data());
    } else {
      SequenceAttentionBackward(
          BenchmarkContext(), sequences, operands, out, lse.data(), {gradient.data(), rows, kWidth},
          {g.Columns(0, kWidth), g.Columns(kWidth, kWidth), g.Columns(2 * kWidth, kWidth)});
    }
    benchmark::ClobberMemory();
  }
  const double scores = count * length * (length + 1) / 2.0;
  const double products = pass == Pass::kForward ? 2 : 5;
  state.counters["FLOP/s"] = benchmark::Counter(products * 2 * kWidth * scores,
                                                benchmark::Counter::kIsIterationInvariantRate);
}

void Shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"B", "T"})->Args({16, 256})->Args({4, 1024})->UseRealTime();
}
BENCHMARK_CAPTURE(BM_SequenceAttention, forward, Pass::kForward, 0.0f)->Apply(Shapes);
BENCHMARK_CAPTURE(BM_SequenceAttention, forward_dropout, Pass::kForward, 0.1f)->Apply(Shapes);
BENCHMARK_CAPTURE(BM_SequenceAttention, backward, Pass::kBackward, 0.0f)->Apply(Shapes);
BENCHMARK_CAPTURE(BM_SequenceAttention, backward_dropout, Pass::kBackward, 0.1f)->Apply(Shapes);

}  // namespace
}  // namespace whipsnake::kernels
