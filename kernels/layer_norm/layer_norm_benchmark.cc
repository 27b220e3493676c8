// T rows of the width of GPT-2 124M.
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/benchmark_context.h"
#include "kernels/layer_norm/layer_norm.h"

namespace whipsnake::kernels {
namespace {

enum class Form { kFloats, kCodes, kOwnCodes };

void BM_ResidualLayerNorm(benchmark::State& state, Form form) {
  const int64_t rows = state.range(0), cols = 768;
  const std::vector<float> h(rows * cols, 1e-3f), ones(cols, 1.0f);
  std::vector<float> r(rows * cols, 0.5f), y(rows * cols), scale(rows);
  std::vector<int8_t> codes(rows * cols);
  const LayerNormWeights weights{ones.data(), ones.data(), 1e-5f};
  const MatrixView<const float> addend(h.data(), rows, cols);
  const MatrixView<float> residual(r.data(), rows, cols);
  const MatrixView<int8_t> out(codes.data(), rows, cols);
  for (auto _ : state) {
    switch (form) {
      case Form::kFloats:
        ResidualLayerNorm(BenchmarkContext(), addend, residual, weights,
                          MatrixView<float>(y.data(), rows, cols));
        break;
      case Form::kCodes:
        ResidualLayerNorm(BenchmarkContext(), addend, residual, weights, out);
        break;
      case Form::kOwnCodes:
        ResidualLayerNorm(BenchmarkContext(), addend, residual, weights, out, scale.data());
    }
  }
  state.SetItemsProcessed(state.iterations() * rows * cols);
}
BENCHMARK_CAPTURE(BM_ResidualLayerNorm, fp32, Form::kFloats)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK_CAPTURE(BM_ResidualLayerNorm, static, Form::kCodes)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK_CAPTURE(BM_ResidualLayerNorm, dynamic, Form::kOwnCodes)->Arg(1)->Arg(512)->UseRealTime();

void BM_LayerNormBackward(benchmark::State& state) {
  const int64_t rows = state.range(0), cols = 768;
  std::vector<float> x(rows * cols), g(rows * cols, 1e-3f), ones(cols, 1.0f), gx(rows * cols),
      ggamma(cols), gbeta(cols);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 17);
  for (auto _ : state) {
    LayerNormBackward(BenchmarkContext(), MatrixView<const float>(x.data(), rows, cols),
                      {ones.data(), ones.data(), 1e-5f},
                      MatrixView<const float>(g.data(), rows, cols),
                      {MatrixView<float>(gx.data(), rows, cols), ggamma.data(), gbeta.data()});
  }
  state.SetItemsProcessed(state.iterations() * rows * cols);
}
BENCHMARK(BM_LayerNormBackward)->Arg(512)->Arg(1024)->UseRealTime();

void BM_NormalizedLayerNormBackward(benchmark::State& state) {
  const int64_t rows = state.range(0), cols = 768;
  std::vector<float> normal(rows * cols), g(rows * cols, 1e-3f), ones(cols, 1.0f), gx(rows * cols),
      ggamma(cols), gbeta(cols);
  const std::vector<float> rstd(rows, 1.0f);
  for (size_t i = 0; i < normal.size(); ++i) normal[i] = static_cast<float>(i % 17);
  for (auto _ : state) {
    NormalizedLayerNormBackward(
        BenchmarkContext(), MatrixView<const float>(normal.data(), rows, cols), rstd.data(),
        ones.data(), MatrixView<const float>(g.data(), rows, cols),
        {MatrixView<float>(gx.data(), rows, cols), ggamma.data(), gbeta.data()});
  }
  state.SetItemsProcessed(state.iterations() * rows * cols);
}
BENCHMARK(BM_NormalizedLayerNormBackward)->Arg(512)->Arg(1024)->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
