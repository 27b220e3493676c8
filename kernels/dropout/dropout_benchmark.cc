// Dropout of T rows of the width of GPT-2 124M.
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/benchmark_context.h"
#include "kernels/dropout/dropout.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kColumns = 768;
constexpr DropoutMask kMask{.probability = 0.1f, .seed = 1, .stream = 2};

void BM_Dropout(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const std::vector<float> x(rows * kColumns, 0.5f);
  std::vector<float> y(rows * kColumns);
  for (auto _ : state) {
    Dropout(BenchmarkContext(), kMask, {x.data(), rows, kColumns}, {y.data(), rows, kColumns});
  }
  state.SetItemsProcessed(state.iterations() * rows * kColumns);
}
BENCHMARK(BM_Dropout)->Arg(32)->Arg(4096)->UseRealTime();

void BM_AddDropout(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const std::vector<float> x(rows * kColumns, 0.5f), r(rows * kColumns, 1.0f);
  std::vector<float> y(rows * kColumns);
  for (auto _ : state) {
    AddDropout(BenchmarkContext(), kMask, {x.data(), rows, kColumns}, {r.data(), rows, kColumns},
               {y.data(), rows, kColumns});
  }
  state.SetItemsProcessed(state.iterations() * rows * kColumns);
}
BENCHMARK(BM_AddDropout)->Arg(32)->Arg(4096)->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
