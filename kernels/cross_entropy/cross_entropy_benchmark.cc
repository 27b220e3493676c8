// The head of GPT-2 for 320 tokens at a time, and a copy of the logits to compare with. The
// gradient is taken of its own output, which costs the same as one of logits.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

#include "kernels/benchmark_context.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kRows = 320, kClasses = 50257;

struct Operands {
  std::vector<float> logits, losses, factors;
  std::vector<int32_t> targets, predictions;

  Operands()
      : logits(kRows * kClasses),
        losses(kRows),
        factors(kRows, 1.0f),
        targets(kRows, 7),
        predictions(kRows) {
    for (size_t i = 0; i < logits.size(); ++i) logits[i] = 0.1f * (i % 97);
  }
  MatrixView<float> view() { return {logits.data(), kRows, kClasses}; }
  CrossEntropyOperands operands(bool predicts) {
    return {targets, 0.1f, losses.data(), predicts ? predictions.data() : nullptr};
  }
};

void Report(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * kRows * kClasses);
}

void BM_Copy(benchmark::State& state) {
  Operands o;
  std::vector<float> copy(o.logits.size());
  for (auto _ : state) {
    ParallelRows(BenchmarkContext(), kRows, 1e9, [&](const Context&, int64_t begin, int64_t end) {
      std::copy(o.view().row(begin), o.view().row(end), &copy[begin * kClasses]);
    });
    benchmark::ClobberMemory();
  }
  Report(state);
}

void BM_CrossEntropy(benchmark::State& state, bool predicts) {
  Operands o;
  for (auto _ : state) CrossEntropy(BenchmarkContext(), o.view(), o.operands(predicts));
  Report(state);
}

void BM_CrossEntropyWithGradient(benchmark::State& state) {
  Operands o;
  for (auto _ : state) {
    CrossEntropyWithGradient(BenchmarkContext(), o.view(), o.factors.data(), o.operands(false));
  }
  Report(state);
}

BENCHMARK(BM_Copy)->UseRealTime();
BENCHMARK_CAPTURE(BM_CrossEntropy, loss, false)->UseRealTime();
BENCHMARK_CAPTURE(BM_CrossEntropy, predictions, true)->UseRealTime();
BENCHMARK(BM_CrossEntropyWithGradient)->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
