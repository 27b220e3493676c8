// The softmax weights of a vocabulary. "each" is the time per score.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <vector>

#include "kernels/benchmark_context.h"
#include "kernels/softmax/softmax.h"

namespace whipsnake::kernels {
namespace {

void BM_SoftmaxWeights(benchmark::State& state) {
  const int64_t n = state.range(0);
  std::minstd_rand engine(1);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> scores(n), weights(n), sums(n / kSoftmaxBlock + 1);
  for (float& score : scores) score = normal(engine);
  const float largest = *std::max_element(scores.begin(), scores.end());
  for (auto _ : state) {
    SoftmaxWeights(BenchmarkContext(), scores.data(), n, largest, 1, weights.data(), sums.data());
  }
  state.counters["each"] = benchmark::Counter(
      1.0 * state.iterations() * n, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_SoftmaxWeights)->ArgName("n")->Arg(300)->Arg(50280);

}  // namespace
}  // namespace whipsnake::kernels
