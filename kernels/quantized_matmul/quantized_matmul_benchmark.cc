// Compares the products of mamba-130m and mamba-1.4b with a plain read of the same weight, and the
// forms of the product with each other. Compare within one run:
//
//   quantized_matmul_benchmark --benchmark_enable_random_interleaving=true
//       --benchmark_repetitions=9 --benchmark_report_aggregates_only=true
#include <span>
#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/benchmark_context.h"
#include "kernels/cpu/isa.h"
#include "kernels/matmul/weight_pool.h"
#include "kernels/quantized_matmul/forms.h"
#include "kernels/quantized_matmul/quantized_matmul.h"
#include "kernels/streaming_read/streaming_read.h"

namespace whipsnake::kernels {
namespace {

// Calls multiply(x, w, multiplier, bias, y) for the benchmark's shape.
template <typename Multiply>
void Measure(benchmark::State& state, const Multiply& multiply) {
  const int64_t m = state.range(0);
  const int64_t n = state.range(1);
  const int64_t k = state.range(2);
  const std::vector<int8_t> x(m * k, 3);
  const std::vector<float> multiplier(n, 0.5f), bias(n, 1.5f);
  std::vector<int8_t> y(m * n);
  for (auto _ : state) {
    multiply(MatrixView<const int8_t>(x.data(), m, k),
             WeightView{NextWeight(n * k), DType::kI8, n, k}, multiplier.data(), bias.data(),
             MatrixView<int8_t>(y.data(), m, n));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * n * k);
  state.counters["MAC/s"] =
      benchmark::Counter(1.0 * m * n * k, benchmark::Counter::kIsIterationInvariantRate);
}

void BM_QuantizedMatmul(benchmark::State& state) {
  Measure(state, [](auto x, auto w, auto multiplier, auto bias, auto y) {
    QuantizedMatmul(BenchmarkContext(), x, w, {multiplier, bias}, y);
  });
}

void BM_Form(benchmark::State& state,
             void (*form)(const Context&, MatrixView<const int8_t>, WeightView, const Epilogue&),
             Isa needs) {
  if (ActiveIsa() < needs) return state.SkipWithError("needs VNNI");
  Measure(state, [form](auto x, auto w, auto multiplier, auto bias, auto y) {
    form(BenchmarkContext(), x, w, Epilogue({multiplier, bias}, y));
  });
}

void BM_StreamingRead(benchmark::State& state) {
  const int64_t bytes = state.range(0) * state.range(1);
  for (auto _ : state) {
    const std::span<const std::byte> weight(NextWeight(bytes), bytes);
    benchmark::DoNotOptimize(StreamingRead(BenchmarkContext(), std::span(&weight, 1)));
  }
  state.SetBytesProcessed(state.iterations() * bytes);
}

// in_proj, x_proj, dt_proj and out_proj of both models, and the head of mamba-130m.
constexpr int64_t kShapes[][2] = {{3072, 768},  {80, 1536},  {1536, 48},  {768, 1536}, {50280, 768},
                                  {8192, 2048}, {192, 4096}, {4096, 128}, {2048, 4096}};

void Products(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"M", "N", "K"})->UseRealTime();
  for (const int64_t m : {1, 4, 8, 16, 32, 64, 512}) {
    for (const auto& [n, k] : kShapes) benchmark->Args({m, n, k});
  }
}

void ManyRows(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"M", "N", "K"})->UseRealTime();
  for (const int64_t m : {8, 16, 32, 64, 512}) {
    for (const auto& [n, k] : kShapes) benchmark->Args({m, n, k});
  }
}

void Weights(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"N", "K"})->UseRealTime();
  for (const auto& [n, k] : kShapes) benchmark->Args({n, k});
}

BENCHMARK(BM_StreamingRead)->Apply(Weights);
BENCHMARK(BM_QuantizedMatmul)->Apply(Products);
BENCHMARK_CAPTURE(BM_Form, streaming, StreamingQuantizedMatmul, Isa::kScalar)->Apply(ManyRows);
BENCHMARK_CAPTURE(BM_Form, packed, PackedQuantizedMatmul, Isa::kVnni)->Apply(ManyRows);
BENCHMARK_CAPTURE(BM_Form, onednn, OneDnnQuantizedMatmul, Isa::kVnni)->Apply(ManyRows);

}  // namespace
}  // namespace whipsnake::kernels
