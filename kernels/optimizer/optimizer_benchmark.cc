// Updates of 50 million elements, which no cache holds, and of 3 million, a matrix of GPT-2. Bytes
// per second count every read and every write of an array, to compare with those of a copy.
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "kernels/benchmark_context.h"
#include "kernels/cpu/parallel.h"
#include "kernels/optimizer/optimizer.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kElements = 50'000'000;
constexpr int64_t kMatrixElements = 3'000'000;

std::vector<float> Gradients(int64_t n = kElements) {
  std::vector<float> g(n);
  for (int64_t i = 0; i < n; ++i) g[i] = static_cast<float>(i % 1009 - 504) * 1e-3f;
  return g;
}

void CountBytes(benchmark::State& state, int64_t bytes_per_element, int64_t n = kElements) {
  state.SetItemsProcessed(state.iterations() * n);
  state.SetBytesProcessed(state.iterations() * n * bytes_per_element);
}

void BM_Copy(benchmark::State& state) {
  const std::vector<float> from = Gradients();
  std::vector<float> to(kElements);
  for (auto _ : state) {
    ParallelRows(
        BenchmarkContext(), kElements, kElements, [&](const Context&, int64_t begin, int64_t end) {
          std::memcpy(to.data() + begin, from.data() + begin, (end - begin) * sizeof(float));
        });
  }
  CountBytes(state, 2 * sizeof(float));
}
BENCHMARK(BM_Copy)->UseRealTime();

void BM_AdamW(benchmark::State& state, int64_t n, bool copies, bool measures) {
  const std::vector<float> g = Gradients(n);
  std::vector<float> w(n, 1), m(n), v(n);
  std::vector<uint16_t> bf16(n);
  UpdateMeasure measure;
  AdamW adamw = {.learning_rate = 1e-3};
  for (auto _ : state) {
    Update(BenchmarkContext(), adamw, g.data(), n, w.data(), m.data(), v.data(),
           copies ? bf16.data() : nullptr, measures ? &measure : nullptr);
    ++adamw.step;
  }
  CountBytes(state, 7 * sizeof(float) + (copies ? sizeof(uint16_t) : 0), n);
}
BENCHMARK_CAPTURE(BM_AdamW, large, kElements, false, false)->UseRealTime();
BENCHMARK_CAPTURE(BM_AdamW, large_bf16_copy, kElements, true, false)->UseRealTime();
BENCHMARK_CAPTURE(BM_AdamW, matrix, kMatrixElements, false, false)->UseRealTime();
BENCHMARK_CAPTURE(BM_AdamW, matrix_measured, kMatrixElements, false, true)->UseRealTime();

void BM_AdamW8(benchmark::State& state, int64_t n, bool measures) {
  const std::vector<float> g = Gradients(n);
  std::vector<float> w(n, 1);
  std::vector<uint8_t> m(n), v(n);
  std::vector<float> m_scale(MomentBlocks(n)), v_scale(MomentBlocks(n));
  UpdateMeasure measure;
  AdamW adamw = {.learning_rate = 1e-3};
  for (auto _ : state) {
    Update(BenchmarkContext(), adamw, g.data(), n, w.data(),
           Moments8{m.data(), v.data(), m_scale.data(), v_scale.data()}, nullptr,
           measures ? &measure : nullptr);
    ++adamw.step;
  }
  CountBytes(state, 3 * sizeof(float) + 4 * sizeof(uint8_t), n);
}
BENCHMARK_CAPTURE(BM_AdamW8, large, kElements, false)->UseRealTime();
BENCHMARK_CAPTURE(BM_AdamW8, matrix, kMatrixElements, false)->UseRealTime();
BENCHMARK_CAPTURE(BM_AdamW8, matrix_measured, kMatrixElements, true)->UseRealTime();

void BM_Sgd(benchmark::State& state, int64_t n, bool measures) {
  const std::vector<float> g = Gradients(n);
  std::vector<float> w(n, 1), m(n);
  UpdateMeasure measure;
  Sgd sgd = {.learning_rate = 1e-3, .momentum = 0.9};
  for (auto _ : state) {
    Update(BenchmarkContext(), sgd, g.data(), n, w.data(), m.data(), nullptr,
           measures ? &measure : nullptr);
    ++sgd.step;
  }
  CountBytes(state, 5 * sizeof(float), n);
}
BENCHMARK_CAPTURE(BM_Sgd, large, kElements, false)->UseRealTime();
BENCHMARK_CAPTURE(BM_Sgd, matrix, kMatrixElements, false)->UseRealTime();
BENCHMARK_CAPTURE(BM_Sgd, matrix_measured, kMatrixElements, true)->UseRealTime();

void BM_SumOfSquares(benchmark::State& state) {
  const std::vector<float> x = Gradients();
  for (auto _ : state) {
    benchmark::DoNotOptimize(SumOfSquares(BenchmarkContext(), x.data(), kElements));
  }
  CountBytes(state, sizeof(float));
}
BENCHMARK(BM_SumOfSquares)->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
