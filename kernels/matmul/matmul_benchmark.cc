// Compares the products of mamba-130m and mamba-1.4b with a plain read of the same weight. Compare
// within one run:
//
//   matmul_benchmark --benchmark_enable_random_interleaving=true --benchmark_repetitions=9
//       --benchmark_report_aggregates_only=true
#include <algorithm>
#include <span>
#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/benchmark_context.h"
#include "kernels/matmul/matmul.h"
#include "kernels/matmul/weight_pool.h"
#include "kernels/streaming_read/streaming_read.h"

namespace whipsnake::kernels {
namespace {

void BM_Matmul(benchmark::State& state, DType dtype) {
  const int64_t m = state.range(0);
  const int64_t n = state.range(1);
  const int64_t k = state.range(2);
  const std::vector<float> x(m * k, 0.5f);
  std::vector<float> y(m * n);
  const int64_t bytes = n * WeightFormat(dtype).RowBytes(k);
  for (auto _ : state) {
    Matmul(BenchmarkContext(), {x.data(), m, k}, {NextWeight(bytes), dtype, n, k}, nullptr,
           {y.data(), m, n});
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * bytes);
  state.counters["FLOP/s"] =
      benchmark::Counter(2.0 * m * n * k, benchmark::Counter::kIsIterationInvariantRate);
}

void BM_StreamingRead(benchmark::State& state) {
  const int64_t bytes = state.range(0) * state.range(1) * sizeof(float);
  for (auto _ : state) {
    const std::span<const std::byte> weight(NextWeight(bytes), bytes);
    benchmark::DoNotOptimize(StreamingRead(BenchmarkContext(), std::span(&weight, 1)));
  }
  state.SetBytesProcessed(state.iterations() * bytes);
}

constexpr int64_t kShapes[][2] = {{3072, 768},  {80, 1536},  {1536, 48},  {768, 1536}, {50280, 768},
                                  {8192, 2048}, {160, 4096}, {4096, 128}, {2048, 4096}};

void Products(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"M", "N", "K"})->UseRealTime();
  for (const int64_t m : {1, 2, 4, 8, 16, 17, 64, 512}) {
    for (const auto& [n, k] : kShapes) benchmark->Args({m, n, k});
  }
}

void Weights(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"N", "K"})->UseRealTime();
  for (const auto& [n, k] : kShapes) benchmark->Args({n, k});
}

BENCHMARK(BM_StreamingRead)->Apply(Weights);
BENCHMARK_CAPTURE(BM_Matmul, fp32, DType::kF32)->Apply(Products);
BENCHMARK_CAPTURE(BM_Matmul, bf16, DType::kBF16)->Apply(Products);

}  // namespace
}  // namespace whipsnake::kernels
