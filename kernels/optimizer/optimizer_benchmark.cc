// Updates of 50 million elements, which no cache holds. Bytes per second count every read and every
// write of an array, to compare with those of a copy.
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "kernels/benchmark_context.h"
#include "kernels/cpu/parallel.h"
#include "kernels/optimizer/optimizer.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kElements = 50'000'000;

std::vector<float> Gradients() {
  std::vector<float> g(kElements);
  for (int64_t i = 0; i < kElements; ++i) g[i] = static_cast<float>(i % 1009 - 504) * 1e-3f;
  return g;
}

void CountBytes(benchmark::State& state, int64_t bytes_per_element) {
  state.SetItemsProcessed(state.iterations() * kElements);
  state.SetBytesProcessed(state.iterations() * kElements * bytes_per_element);
}

void BM_Copy(benchmark::State& state) {
  const std::vector<float> from = Gradients();
  std::vector<float> to(kElements);
  for (auto _ : state) {
    ParallelRows(
        BenchmarkContext(), kElements, kElements, [&](const Context&, int64_t begin, int64_t end) {
          std::memcpy(to.data() + begin, from.data() + begin, (end - begin) * sizeof(float));
        });
  }
  CountBytes(state, 2 * sizeof(float));
}
BENCHMARK(BM_Copy)->UseRealTime();

void BM_AdamW(benchmark::State& state, bool copies) {
  const std::vector<float> g = Gradients();
  std::vector<float> w(kElements, 1), m(kElements), v(kElements);
  std::vector<uint16_t> bf16(kElements);
  AdamW adamw = {.learning_rate = 1e-3};
  for (auto _ : state) {
    Update(BenchmarkContext(), adamw, g.data(), kElements, w.data(), m.data(), v.data(),
           copies ? bf16.data() : nullptr);
    ++adamw.step;
  }
  CountBytes(state, 7 * sizeof(float) + (copies ? sizeof(uint16_t) : 0));
}
BENCHMARK_CAPTURE(BM_AdamW, fp32, false)->UseRealTime();
BENCHMARK_CAPTURE(BM_AdamW, bf16_copy, true)->UseRealTime();

void BM_AdamW8(benchmark::State& state) {
  const std::vector<float> g = Gradients();
  std::vector<float> w(kElements, 1);
  std::vector<uint8_t> m(kElements), v(kElements);
  std::vector<float> m_scale(MomentBlocks(kElements)), v_scale(MomentBlocks(kElements));
  AdamW adamw = {.learning_rate = 1e-3};
  for (auto _ : state) {
    Update(BenchmarkContext(), adamw, g.data(), kElements, w.data(),
           Moments8{m.data(), v.data(), m_scale.data(), v_scale.data()});
    ++adamw.step;
  }
  CountBytes(state, 3 * sizeof(float) + 4 * sizeof(uint8_t));
}
BENCHMARK(BM_AdamW8)->UseRealTime();

void BM_Sgd(benchmark::State& state) {
  const std::vector<float> g = Gradients();
  std::vector<float> w(kElements, 1), m(kElements);
  Sgd sgd = {.learning_rate = 1e-3, .momentum = 0.9};
  for (auto _ : state) {
    Update(BenchmarkContext(), sgd, g.data(), kElements, w.data(), m.data());
    ++sgd.step;
  }
  CountBytes(state, 5 * sizeof(float));
}
BENCHMARK(BM_Sgd)->UseRealTime();

void BM_SumOfSquares(benchmark::State& state) {
  const std::vector<float> x = Gradients();
  for (auto _ : state) {
    benchmark::DoNotOptimize(SumOfSquares(BenchmarkContext(), x.data(), kElements));
  }
  CountBytes(state, sizeof(float));
}
BENCHMARK(BM_SumOfSquares)->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
