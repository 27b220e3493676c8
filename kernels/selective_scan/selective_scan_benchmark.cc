// The scan at the shapes of mamba-130m and mamba-2.8b: decode (a batch of runs of one token) and
// prefill. "each" is the time per token, channel and thread.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kernels/cpu/team.h"
#include "kernels/selective_scan/selective_scan.h"

namespace whipsnake::kernels {
namespace {

void Fill(std::vector<float>& v, float low, float high) {
  std::minstd_rand engine(v.size());
  std::uniform_real_distribution<float> uniform(low, high);
  for (float& x : v) x = uniform(engine);
}

void BM_SelectiveScan(benchmark::State& state) {
  Team team(state.range(3));
  const Team::Scope scope(&team);
  const int64_t runs = state.range(0), length = state.range(1), channels = state.range(2),
                states = 16;
  const int64_t rows = runs * length;
  // A model has come round all its layers, and through the cache, before it needs a state again.
  const int64_t layers = length == 1 ? 24 : 1;
  std::vector<float> xz(rows * 2 * channels), delta(rows * channels), bc(rows * 2 * states),
      h(layers * runs * states * channels), a(layers * states * channels), bias(channels),
      d(channels, 1.0f);
  Fill(xz, -2, 2);
  Fill(delta, -1, 1);
  Fill(bc, -1, 1);
  Fill(bias, -6, -2);  // steps of about 0.002 to 0.1, as trained models have
  for (int64_t i = 0; i < layers * states * channels; ++i) a[i] = -1.0f - i / channels % states;
  const MatrixView<float> both(xz.data(), rows, 2 * channels), dbc(bc.data(), rows, 2 * states),
      steps(delta.data(), rows, channels);
  std::vector<float> out(rows * channels);
  SelectiveScanOperands operands{.x = both.Columns(0, channels),
                                 .delta = steps,
                                 .delta_bias = bias.data(),
                                 .a = a.data(),
                                 .b = dbc.Columns(0, states),
                                 .c = dbc.Columns(states, states),
                                 .d = d.data(),
                                 .z = both.Columns(channels, channels),
                                 .y = {out.data(), rows, channels}};
  std::vector<ScanRun> batch(runs);
  int64_t layer = 0;
  for (auto _ : state) {
    for (int64_t r = 0; r < runs; ++r) {
      batch[r] = {r * length, length, h.data() + (layer * runs + r) * states * channels};
    }
    operands.a = a.data() + layer * states * channels;
    SelectiveScan(batch, operands);
    layer = (layer + 1) % layers;
  }
  state.counters["each"] =
      benchmark::Counter(1.0 * state.iterations() * rows * channels / Team::Current().threads(),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_SelectiveScan)
    ->ArgNames({"runs", "length", "channels", "threads"})
    ->ArgsProduct({{1, 8}, {1}, {1536, 5120}, {1, 2}})
    ->ArgsProduct({{1}, {16, 512}, {1536, 5120}, {1, 2}})
    ->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
