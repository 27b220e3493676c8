// T rows of the inner width of GPT-2 124M.
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/benchmark_context.h"
#include "kernels/row_quantization/row_quantization.h"

namespace whipsnake::kernels {
namespace {

void BM_QuantizeRows(benchmark::State& state, bool dynamic) {
  const int64_t rows = state.range(0), cols = 3072;
  const std::vector<float> x(rows * cols, 0.5f);
  std::vector<int8_t> y(rows * cols);
  std::vector<float> scale(rows);
  const MatrixView<const float> from(x.data(), rows, cols);
  const MatrixView<int8_t> to(y.data(), rows, cols);
  for (auto _ : state) {
    dynamic ? QuantizeRows(BenchmarkContext(), from, to, scale.data())
            : QuantizeRows(BenchmarkContext(), from, 2.0f, to);
  }
  state.SetItemsProcessed(state.iterations() * rows * cols);
}
BENCHMARK_CAPTURE(BM_QuantizeRows, dynamic, true)->Arg(1)->Arg(16)->Arg(512)->UseRealTime();
BENCHMARK_CAPTURE(BM_QuantizeRows, static, false)->Arg(1)->Arg(16)->Arg(512)->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
