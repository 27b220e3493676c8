// A layer of GPT-2 124M: 12 heads of width 64. Measures prefill of T tokens, and decode of one
// token for each of B sequences of T tokens. "FLOP/s" counts two products of length D per score,
// and only the causal half of the scores.
#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "kernels/attention/attention.h"
#include "kernels/cpu/cpu_context.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kHeads = 12, kHeadDim = 64, kWidth = kHeads * kHeadDim;

class Cache {
 public:
  Cache(const KvLayout& layout, int64_t positions) {
    const int64_t blocks = (positions + kKvBlock - 1) / kKvBlock;
    memory_ = hwy::AllocateAligned<std::byte>(blocks * layout.bytes());
    std::fill_n(memory_.get(), blocks * layout.bytes(), std::byte{0});
    for (int64_t i = 0; i < blocks; ++i) pointers_.push_back(memory_.get() + i * layout.bytes());
  }
  KvBlockTable table() const { return {pointers_.data(), std::ssize(pointers_)}; }

 private:
  hwy::AlignedFreeUniquePtr<std::byte[]> memory_;
  std::vector<std::byte*> pointers_;
};

void Measure(benchmark::State& state, DType dtype, int64_t sequences, int64_t length,
             int64_t position) {
  const CpuContext cpu(state.range(1));
  const KvLayout layout{dtype, kHeads, kHeadDim};
  std::vector<Cache> caches;
  std::vector<AttentionRun> runs;
  for (int64_t i = 0; i < sequences; ++i) caches.emplace_back(layout, position + length);
  for (int64_t i = 0; i < sequences; ++i) {
    runs.push_back({i * length, length, position, caches[i].table()});
  }
  const int64_t rows = sequences * length;
  const std::vector<float> qkv(rows * 3 * kWidth, 0.25f);
  std::vector<float> y(rows * kWidth);
  const MatrixView<const float> all(qkv.data(), rows, 3 * kWidth);
  for (auto _ : state) {
    Attention(cpu.context(), runs,
              {.q = all.Columns(0, kWidth),
               .k = all.Columns(kWidth, kWidth),
               .v = all.Columns(2 * kWidth, kWidth),
               .layout = layout,
               .scale = 0.125f,
               .y = {y.data(), rows, kWidth}});
    benchmark::ClobberMemory();
  }
  const double scores = sequences * length * (position + (length + 1) / 2.0);
  state.counters["FLOP/s"] =
      benchmark::Counter(4 * kWidth * scores, benchmark::Counter::kIsIterationInvariantRate);
}

void BM_Prefill(benchmark::State& state, DType dtype) {
  Measure(state, dtype, 1, state.range(0), 0);
}
void BM_Decode(benchmark::State& state, DType dtype) {
  Measure(state, dtype, state.range(2), 1, state.range(0) - 1);
}

void Prefills(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"T", "threads"})->ArgsProduct({{32, 512, 1024}, {1, 2}})->UseRealTime();
}
void Decodes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"T", "threads", "B"})
      ->ArgsProduct({{64, 512, 1024}, {1, 2}, {1, 16}})
      ->UseRealTime();
}
BENCHMARK_CAPTURE(BM_Prefill, fp32, DType::kF32)->Apply(Prefills);
BENCHMARK_CAPTURE(BM_Prefill, bf16, DType::kBF16)->Apply(Prefills);
BENCHMARK_CAPTURE(BM_Prefill, int8, DType::kI8)->Apply(Prefills);
BENCHMARK_CAPTURE(BM_Decode, fp32, DType::kF32)->Apply(Decodes);
BENCHMARK_CAPTURE(BM_Decode, bf16, DType::kBF16)->Apply(Decodes);
BENCHMARK_CAPTURE(BM_Decode, int8, DType::kI8)->Apply(Decodes);

}  // namespace
}  // namespace whipsnake::kernels
