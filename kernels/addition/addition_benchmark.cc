// The sum of residuals of T rows of the width of GPT-2 124M. Bytes per second count both reads and
// the write.
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/addition/addition.h"
#include "kernels/benchmark_context.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kColumns = 768;

void BM_Add(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const std::vector<float> x(rows * kColumns, 0.5f);
  std::vector<float> y(rows * kColumns);
  const MatrixView<float> sum(y.data(), rows, kColumns);
  for (auto _ : state) Add(BenchmarkContext(), {x.data(), rows, kColumns}, sum, sum);
  state.SetBytesProcessed(state.iterations() * rows * kColumns * 3 * sizeof(float));
}
BENCHMARK(BM_Add)->Arg(32)->Arg(4096)->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
