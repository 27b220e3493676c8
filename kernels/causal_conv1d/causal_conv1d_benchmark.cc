// The convolution at the shapes of mamba-130m and mamba-2.8b: decode (a batch of runs of one token)
// and prefill. "each" is the time per token, channel and thread.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/cpu/team.h"

namespace whipsnake::kernels {
namespace {

std::vector<float> RandomVector(int64_t n) {
  std::minstd_rand engine(n);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> v(n);
  for (float& x : v) x = uniform(engine);
  return v;
}

void BM_CausalConv1dSilu(benchmark::State& state) {
  constexpr int64_t kWidth = 4;
  Team team(state.range(3));
  const Team::Scope scope(&team);
  const int64_t runs = state.range(0), length = state.range(1), channels = state.range(2);
  const int64_t rows = runs * length;
  std::vector<float> xz = RandomVector(rows * 2 * channels),
                     weight = RandomVector(kWidth * channels), bias = RandomVector(channels),
                     out(rows * channels), states(runs * (kWidth - 1) * channels);
  std::vector<ConvRun> batch;
  for (int64_t r = 0; r < runs; ++r) {
    batch.push_back({r * length, length, states.data() + r * (kWidth - 1) * channels});
  }
  const MatrixView<const float> x(xz.data(), rows, channels, 2 * channels);
  for (auto _ : state) {
    CausalConv1dSilu(batch, x, weight.data(), bias.data(), kWidth, {out.data(), rows, channels});
  }
  state.counters["each"] =
      benchmark::Counter(1.0 * state.iterations() * rows * channels / Team::Current().threads(),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_CausalConv1dSilu)
    ->ArgNames({"runs", "length", "channels", "threads"})
    ->ArgsProduct({{1, 8}, {1}, {1536, 5120}, {1, 2}})
    ->ArgsProduct({{1}, {16, 512}, {1536, 5120}, {1, 2}})
    ->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
