// The rotation at the widths of the published models: decode (one row) and prefill. "each" is the
// time per element and thread.
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/cpu/team.h"
#include "kernels/hadamard/hadamard.h"

namespace whipsnake::kernels {
namespace {

// Measures call(x, y) for the benchmark's T, n and threads.
template <typename T, typename Call>
void Measure(benchmark::State& state, const Call& call) {
  const int64_t t = state.range(0), n = state.range(1);
  Team team(state.range(2));
  const Team::Scope scope(&team);
  std::vector<float> x(t * n);
  for (int64_t i = 0; i < t * n; ++i) x[i] = static_cast<float>(i * 7919 % 255) - 127;
  std::vector<T> y(t * n);
  for (auto _ : state) {
    call(MatrixView<const float>(x.data(), t, n), MatrixView<T>(y.data(), t, n));
    benchmark::ClobberMemory();
  }
  state.counters["each"] =
      benchmark::Counter(1.0 * state.iterations() * t * n / team.threads(),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void BM_Hadamard(benchmark::State& state) {
  Measure<float>(state, [](auto x, auto y) { Hadamard(x, 0.02f, y); });
}

void BM_HadamardToCodes(benchmark::State& state) {
  Measure<int8_t>(state, [](auto x, auto y) { Hadamard(x, 0.02f, y); });
}

void BM_Quantize(benchmark::State& state) {
  const std::vector<float> multiplier(state.range(1), 0.7f);
  Measure<int8_t>(state, [&](auto x, auto y) { Quantize(x, multiplier.data(), y); });
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
