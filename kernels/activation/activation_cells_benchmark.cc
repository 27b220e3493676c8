// The arguments of GELU and CRReLU as cells, and the backward pass from them, over 4 million
// elements. Bytes per second count what is read and what is written.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kernels/activation/activation_cells.h"
#include "kernels/benchmark_context.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kElements = 4'000'000;

std::vector<float> Arguments() {
  std::minstd_rand engine(1);
  std::normal_distribution<float> normal(-0.5f, 1);
  std::vector<float> x(kElements);
  for (float& value : x) value = normal(engine);
  return x;
}

void CountBytes(benchmark::State& state, int64_t floats) {
  state.SetItemsProcessed(state.iterations() * kElements);
  state.SetBytesProcessed(state.iterations() * (floats * kElements * int64_t{sizeof(float)} +
                                                ActivationCellBytes(kElements)));
}

void BM_EncodeCells(benchmark::State& state, ActivationCells cells) {
  const std::vector<float> x = Arguments();
  std::vector<uint8_t> codes(ActivationCellBytes(kElements));
  for (auto _ : state) EncodeCells(BenchmarkContext(), cells, x.data(), kElements, codes.data());
  CountBytes(state, 1);
}
BENCHMARK_CAPTURE(BM_EncodeCells, centered, kCenteredCells)->UseRealTime();
BENCHMARK_CAPTURE(BM_EncodeCells, aligned, kAlignedCells)->UseRealTime();

void BM_Backward(benchmark::State& state, Activation kind) {
  const std::vector<float> x = Arguments();
  std::vector<uint8_t> codes(ActivationCellBytes(kElements));
  EncodeCells(BenchmarkContext(), kAlignedCells, x.data(), kElements, codes.data());
  const ActivationCellTable table = MakeActivationCellTable({kind, 0.01f}, kAlignedCells);
  std::vector<float> gx(kElements);
  for (auto _ : state) {
    benchmark::DoNotOptimize(ActivateBackwardFromCells(BenchmarkContext(), table, codes.data(),
                                                       x.data(), kElements, gx.data()));
  }
  CountBytes(state, 2);
}
BENCHMARK_CAPTURE(BM_Backward, gelu, Activation::kGelu)->UseRealTime();
BENCHMARK_CAPTURE(BM_Backward, crrelu, Activation::kCRRelu)->UseRealTime();

void BM_ExactBackward(benchmark::State& state, Activation kind) {
  const std::vector<float> x = Arguments();
  std::vector<float> gx(kElements);
  for (auto _ : state) {
    benchmark::DoNotOptimize(ActivateBackward(BenchmarkContext(), {kind, 0.01f}, x.data(), x.data(),
                                              kElements, gx.data()));
  }
  CountBytes(state, 3);
}
BENCHMARK_CAPTURE(BM_ExactBackward, gelu, Activation::kGelu)->UseRealTime();
BENCHMARK_CAPTURE(BM_ExactBackward, crrelu, Activation::kCRRelu)->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
