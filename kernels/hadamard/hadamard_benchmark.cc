// The rotation at the widths of the published models: decode (one row) and prefill. "each" is the
// time per element and thread.
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/cpu/cpu_context.h"
#include "kernels/hadamard/hadamard.h"

namespace whipsnake::kernels {
namespace {

// Measures call(context, x, y) for the benchmark's T, n and threads.
template <typename T, typename Call>
void Measure(benchmark::State& state, const Call& call) {
  const int64_t t = state.range(0), n = state.range(1);
  const CpuContext cpu(state.range(2));
  std::vector<float> x(t * n);
  for (int64_t i = 0; i < t * n; ++i) x[i] = static_cast<float>(i * 7919 % 255) - 127;
  std::vector<T> y(t * n);
  for (auto _ : state) {
    call(cpu.context(), MatrixView<const float>(x.data(), t, n), MatrixView<T>(y.data(), t, n));
    benchmark::ClobberMemory();
  }
  state.counters["each"] =
      benchmark::Counter(1.0 * state.iterations() * t * n / cpu.threads(),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void BM_Hadamard(benchmark::State& state) {
  Measure<float>(state,
                 [](const Context& context, auto x, auto y) { Hadamard(context, x, 0.02f, y); });
}

void BM_HadamardToCodes(benchmark::State& state) {
  Measure<int8_t>(state,
                  [](const Context& context, auto x, auto y) { Hadamard(context, x, 0.02f, y); });
}

void BM_Quantize(benchmark::State& state) {
  const std::vector<float> multiplier(state.range(1), 0.7f);
  Measure<int8_t>(state, [&](const Context& context, auto x, auto y) {
    Quantize(context, x, multiplier.data(), y);
  });
}

void Shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"T", "n", "threads"})
      ->ArgsProduct({{1, 512}, {1536, 3072, 4096, 5120}, {1, 2}})
      ->UseRealTime();
}

BENCHMARK(BM_Hadamard)->Apply(Shapes);
BENCHMARK(BM_HadamardToCodes)->Apply(Shapes);
BENCHMARK(BM_Quantize)->Apply(Shapes);

}  // namespace
}  // namespace whipsnake::kernels
