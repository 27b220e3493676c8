#include <cstdint>
#include <cstring>
#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/benchmark_context.h"
#include "kernels/rms_norm/rms_norm.h"

namespace whipsnake::kernels {
namespace {

template <typename T>
void BM_ResidualRmsNorm(benchmark::State& state) {
  const int64_t t = state.range(0);
  const int64_t d = state.range(1);
  std::vector<float> h(t * d, 0.0f), residual(t * d, 0.5f), gamma(d, 1.0f);
  std::vector<T> y(t * d);
  for (auto _ : state) {
    ResidualRmsNorm(BenchmarkContext(), {h.data(), t, d}, {residual.data(), t, d}, gamma.data(),
                    1e-5f, MatrixView<T>(y.data(), t, d));
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * t * d);
  state.SetBytesProcessed(state.iterations() * t * d * (3 * sizeof(float) + sizeof(T)));
}

void BM_RmsNormBackward(benchmark::State& state) {
  const int64_t t = state.range(0);
  const int64_t d = state.range(1);
  std::vector<float> x(t * d, 0.5f), gamma(d, 1.0f), g(t * d, 1e-3f), gx(t * d), ggamma(d);
  for (auto _ : state) {
    RmsNormBackward(BenchmarkContext(), MatrixView<const float>(x.data(), t, d), gamma.data(),
                    1e-5f, MatrixView<const float>(g.data(), t, d), {gx.data(), t, d},
                    ggamma.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * t * d);
  state.SetBytesProcessed(state.iterations() * t * d * 4 * sizeof(float));
}

// Copies that move the bytes of a norm to fp32, which reads two matrices and writes two.
void BM_TwoCopies(benchmark::State& state) {
  const int64_t count = state.range(0) * state.range(1);
  std::vector<float> h(count, 0.0f), residual(count, 0.5f), y(count), z(count);
  for (auto _ : state) {
    std::memcpy(y.data(), h.data(), count * sizeof(float));
    std::memcpy(z.data(), residual.data(), count * sizeof(float));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * 4 * count * sizeof(float));
}

void Shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"T", "D"})->UseRealTime();
  for (const int64_t d : {768, 1536, 2048, 4096}) {
    for (const int64_t t : {1, 16, 512}) benchmark->Args({t, d});
  }
}

BENCHMARK(BM_ResidualRmsNorm<float>)->Apply(Shapes);
BENCHMARK(BM_ResidualRmsNorm<int8_t>)->Apply(Shapes);
BENCHMARK(BM_RmsNormBackward)->Apply(Shapes);
BENCHMARK(BM_TwoCopies)->Apply(Shapes);

}  // namespace
}  // namespace whipsnake::kernels
