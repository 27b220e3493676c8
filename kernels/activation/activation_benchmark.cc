// SiLU and softplus over n numbers. "each" is the time per number and thread.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kernels/activation/activation.h"
#include "kernels/cpu/team.h"

namespace whipsnake::kernels {
namespace {

template <void (*kFunction)(const float*, int64_t, float*)>
void BM_Activation(benchmark::State& state) {
  const int64_t n = state.range(0);
  Team team(state.range(1));
  const Team::Scope scope(&team);
  std::minstd_rand engine(1);
  std::uniform_real_distribution<float> uniform(-8, 8);
  std::vector<float> x(n), y(n);
  for (float& v : x) v = uniform(engine);
  for (auto _ : state) kFunction(x.data(), n, y.data());
  state.counters["each"] =
      benchmark::Counter(1.0 * state.iterations() * n / Team::Current().threads(),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_Activation<Silu>)
    ->Name("BM_Silu")
    ->ArgNames({"n", "threads"})
    ->ArgsProduct({{1 << 10, 1 << 15, 1 << 20}, {1, 2}})
    ->UseRealTime();
BENCHMARK(BM_Activation<Softplus>)
    ->Name("BM_Softplus")
    ->ArgNames({"n", "threads"})
    ->ArgsProduct({{1 << 10, 1 << 15, 1 << 20}, {1, 2}})
    ->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
