// The activations and their gradients over n elements. "each" is the time per element and thread.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kernels/activation/activation.h"
#include "kernels/cpu/cpu_context.h"

namespace whipsnake::kernels {
namespace {

std::vector<float> Values(int64_t n) {
  std::minstd_rand engine(1);
  std::uniform_real_distribution<float> uniform(-8, 8);
  std::vector<float> x(n);
  for (float& v : x) v = uniform(engine);
  return x;
}

// Measures work(context, n).
template <typename Work>
void Measure(benchmark::State& state, const Work& work) {
  const CpuContext cpu(state.range(1));
  const int64_t n = state.range(0);
  for (auto _ : state) work(cpu.context(), n);
  state.counters["each"] =
      benchmark::Counter(1.0 * state.iterations() * n / cpu.threads(),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void BM_Forward(benchmark::State& state, Activation kind) {
  const std::vector<float> x = Values(state.range(0));
  std::vector<float> y(x.size());
  Measure(state, [&](const Context& context, int64_t n) {
    Activate(context, {kind, 0.01f}, x.data(), n, y.data());
  });
}

void BM_Backward(benchmark::State& state, Activation kind) {
  const std::vector<float> x = Values(state.range(0)), g = Values(state.range(0));
  std::vector<float> gx(x.size());
  Measure(state, [&](const Context& context, int64_t n) {
    ActivateBackward(context, {kind, 0.01f}, x.data(), g.data(), n, gx.data());
  });
}

void BM_CodeTable(benchmark::State& state) {
  int8_t table[kCodes];
  MakeCodeTable({Activation::kCRRelu, 0.5f}, 0.05f, 0.05f, table);
  std::vector<int8_t> x(state.range(0)), y(state.range(0));
  for (int64_t i = 0; i < std::ssize(x); ++i) x[i] = static_cast<int8_t>(i * 37);
  Measure(state, [&](const Context& context, int64_t n) {
    ApplyCodeTable(context, table, x.data(), n, y.data());
  });
}

void BM_Softplus(benchmark::State& state) {
  const std::vector<float> x = Values(state.range(0));
  std::vector<float> y(x.size());
  Measure(state,
          [&](const Context& context, int64_t n) { Softplus(context, x.data(), n, y.data()); });
}

void Sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"n", "threads"})->ArgsProduct({{1 << 12, 1 << 20}, {1, 2}})->UseRealTime();
}

#define WHIPSNAKE_ACTIVATION(name, kind)                               \
  BENCHMARK_CAPTURE(BM_Forward, name, Activation::kind)->Apply(Sizes); \
  BENCHMARK_CAPTURE(BM_Backward, name, Activation::kind)->Apply(Sizes)
WHIPSNAKE_ACTIVATION(relu, kRelu);
WHIPSNAKE_ACTIVATION(leaky_relu, kLeakyRelu);
WHIPSNAKE_ACTIVATION(gelu, kGelu);
WHIPSNAKE_ACTIVATION(gelu_new, kGeluNew);
WHIPSNAKE_ACTIVATION(quick_gelu, kQuickGelu);
WHIPSNAKE_ACTIVATION(silu, kSilu);
WHIPSNAKE_ACTIVATION(mish, kMish);
WHIPSNAKE_ACTIVATION(crrelu, kCRRelu);
BENCHMARK(BM_CodeTable)->Apply(Sizes);
BENCHMARK(BM_Softplus)->Apply(Sizes);

}  // namespace
}  // namespace whipsnake::kernels
