// The convolution at the shapes of mamba-130m and mamba-2.8b: decode (a batch of runs of one token)
// and prefill. "each" is the time per token, channel and thread.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/cpu/cpu_context.h"

namespace whipsnake::kernels {
namespace {

std::vector<float> RandomVector(int64_t n) {
  std::minstd_rand engine(n);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> v(n);
  for (float& x : v) x = uniform(engine);
  return v;
}

constexpr int64_t kWidth = 4;

// Measures convolve(context, runs), with states of type T for the benchmark's shape.
template <typename T, typename Convolve>
void Measure(benchmark::State& state, const Convolve& convolve) {
  const CpuContext cpu(state.range(3));
  const int64_t runs = state.range(0), length = state.range(1), channels = state.range(2);
  std::vector<T> states(runs * (kWidth - 1) * channels);
  std::vector<BasicConvRun<T>> batch;
  for (int64_t r = 0; r < runs; ++r) {
    batch.push_back({r * length, length, states.data() + r * (kWidth - 1) * channels});
  }
  for (auto _ : state) convolve(cpu.context(), batch);
  state.counters["each"] =
      benchmark::Counter(1.0 * state.iterations() * runs * length * channels / cpu.threads(),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void BM_CausalConv1dSilu(benchmark::State& state) {
  const int64_t rows = state.range(0) * state.range(1), channels = state.range(2);
  std::vector<float> xz = RandomVector(rows * 2 * channels),
                     weight = RandomVector(kWidth * channels), bias = RandomVector(channels),
                     out(rows * channels);
  const MatrixView<const float> x(xz.data(), rows, channels, 2 * channels);
  Measure<float>(state, [&](const Context& context, const std::vector<ConvRun>& runs) {
    CausalConv1dSilu(context, runs, x, weight.data(), bias.data(), kWidth,
                     {out.data(), rows, channels});
  });
}

std::vector<int8_t> RandomCodes(int64_t n) {
  std::minstd_rand engine(n);
  std::vector<int8_t> v(n);
  for (int8_t& x : v) x = static_cast<int8_t>(engine() >> 8);
  return v;
}

void BM_CausalConv1dSiluOfCodes(benchmark::State& state) {
  const int64_t rows = state.range(0) * state.range(1), channels = state.range(2);
  std::vector<int8_t> xz = RandomCodes(rows * 2 * channels),
                      weight = RandomCodes(kWidth * channels), out(rows * channels);
  std::vector<float> multiplier(channels, 1e-4f), bias = RandomVector(channels),
                                                  output_multiplier(channels, 40.0f);
  const QuantizedConvOperands operands = {
      MatrixView<const int8_t>(xz.data(), rows, channels, 2 * channels),
      weight.data(),
      multiplier.data(),
      bias.data(),
      kWidth,
      output_multiplier.data(),
      {out.data(), rows, channels}};
  Measure<int8_t>(state, [&](const Context& context, const std::vector<QuantizedConvRun>& runs) {
    CausalConv1dSilu(context, runs, operands);
  });
}

// Sequences of a training step.
void BM_CausalConv1dSiluBackward(benchmark::State& state) {
  const CpuContext cpu(state.range(3));
  const int64_t count = state.range(0), length = state.range(1), channels = state.range(2);
  const int64_t rows = count * length;
  std::vector<float> x = RandomVector(rows * channels), weight = RandomVector(kWidth * channels),
                     bias = RandomVector(channels), g = RandomVector(rows * channels),
                     gx(rows * channels), gweight(kWidth * channels), gbias(channels);
  std::vector<RowRange> sequences;
  for (int64_t i = 0; i < count; ++i) sequences.push_back({i * length, length});
  for (auto _ : state) {
    CausalConv1dSiluBackward(
        cpu.context(), sequences, MatrixView<const float>(x.data(), rows, channels), weight.data(),
        bias.data(), kWidth, MatrixView<const float>(g.data(), rows, channels),
        {MatrixView<float>(gx.data(), rows, channels), gweight.data(), gbias.data()});
  }
  state.counters["each"] =
      benchmark::Counter(1.0 * state.iterations() * rows * channels / cpu.threads(),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void Shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"runs", "length", "channels", "threads"})
      ->ArgsProduct({{1, 8}, {1}, {1536, 4096, 5120}, {1, 2}})
      ->ArgsProduct({{1}, {16, 512}, {1536, 4096, 5120}, {1, 2}})
      ->UseRealTime();
}

BENCHMARK(BM_CausalConv1dSilu)->Apply(Shapes);
BENCHMARK(BM_CausalConv1dSiluOfCodes)->Apply(Shapes);

void TrainingShapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"sequences", "length", "channels", "threads"})
      ->ArgsProduct({{4}, {256}, {1536}, {1, 2}})
      ->UseRealTime();
}
BENCHMARK(BM_CausalConv1dSilu)->Apply(TrainingShapes);
BENCHMARK(BM_CausalConv1dSiluBackward)->Apply(TrainingShapes);

}  // namespace
}  // namespace whipsnake::kernels
