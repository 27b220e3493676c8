// T rows of the embedding of GPT-2 124M.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <span>
#include <vector>

#include "kernels/benchmark_context.h"
#include "kernels/embedding/embedding.h"

namespace whipsnake::kernels {
namespace {

void BM_Embed(benchmark::State& state, DType dtype) {
  constexpr int64_t kTokens = 50257, kWidth = 768, kPositions = 1024;
  const int64_t rows = state.range(0);
  const std::vector<std::byte> table(kTokens * kWidth * ByteSize(dtype));
  const std::vector<float> scale(kTokens, 1), positions(kPositions * kWidth);
  std::vector<float> y(rows * kWidth);
  std::vector<int32_t> tokens(rows);
  std::mt19937 random(1);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % kTokens);
  const EmbeddingTables tables{
      {table.data(), {dtype}, kTokens, kWidth}, scale.data(), positions.data()};
  const EmbeddingRun run{tokens, 0};
  for (auto _ : state) Embed(BenchmarkContext(), {&run, 1}, tables, {y.data(), rows, kWidth});
  state.SetItemsProcessed(state.iterations() * rows * kWidth);
}
BENCHMARK_CAPTURE(BM_Embed, fp32, DType::kF32)->Arg(1)->Arg(16)->Arg(512)->UseRealTime();
BENCHMARK_CAPTURE(BM_Embed, bf16, DType::kBF16)->Arg(1)->Arg(16)->Arg(512)->UseRealTime();
BENCHMARK_CAPTURE(BM_Embed, int8, DType::kI8)->Arg(1)->Arg(16)->Arg(512)->UseRealTime();

// Half of the rows have one of ten tokens, as frequent words do in a text.
void BM_EmbedBackward(benchmark::State& state) {
  constexpr int64_t kTokens = 50257, kWidth = 768, kPositions = 1024;
  const int64_t rows = state.range(0);
  std::vector<float> gtokens(kTokens * kWidth), gpositions(kPositions * kWidth);
  const std::vector<float> g(rows * kWidth, 1e-3f);
  std::vector<int32_t> tokens(rows);
  std::mt19937 random(1);
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(random() % (random() % 2 == 0 ? 10 : kTokens));
  }
  std::vector<EmbeddingRun> runs;
  for (int64_t begin = 0; begin < rows; begin += kPositions) {
    runs.push_back({std::span(tokens).subspan(begin, std::min(kPositions, rows - begin)), 0});
  }
  for (auto _ : state) {
    EmbedBackward(BenchmarkContext(), runs, {g.data(), rows, kWidth}, gtokens.data(),
                  gpositions.data());
  }
  state.SetItemsProcessed(state.iterations() * rows * kWidth);
}
BENCHMARK(BM_EmbedBackward)->Arg(16)->Arg(512)->Arg(8192)->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
