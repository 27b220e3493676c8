// Stored activations of T rows of the width of GPT-2 124M, 3 million elements. Bytes per second
// count what is read and what is written, to compare with those of a copy.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kernels/benchmark_context.h"
#include "kernels/compression/compression.h"
#include "kernels/cpu/parallel.h"

namespace whipsnake::kernels {
namespace {

constexpr int64_t kRows = 4096, kColumns = 768, kElements = kRows * kColumns;

// A tensor x with values of a normal distribution, and room for its stored form.
struct Tensor {
  Tensor() : x(kElements), stored(kElements) {
    std::minstd_rand engine(1);
    std::normal_distribution<float> normal;
    for (float& value : x) value = normal(engine);
  }
  MatrixView<float> view() { return {x.data(), kRows, kColumns}; }
  template <typename T>
  T* room() {
    return reinterpret_cast<T*>(stored.data());
  }

  std::vector<float> x, stored;
};

void CountBytes(benchmark::State& state, int64_t stored) {
  state.SetItemsProcessed(state.iterations() * kElements);
  state.SetBytesProcessed(state.iterations() * (kElements * int64_t{sizeof(float)} + stored));
}

void BM_Copy(benchmark::State& state) {
  Tensor tensor;
  for (auto _ : state) {
    ParallelRows(
        BenchmarkContext(), kElements, kElements, [&](const Context&, int64_t begin, int64_t end) {
          std::copy(tensor.x.data() + begin, tensor.x.data() + end, tensor.stored.data() + begin);
        });
  }
  CountBytes(state, kElements * int64_t{sizeof(float)});
}
BENCHMARK(BM_Copy)->UseRealTime();

void BM_Encode(benchmark::State& state, FixedPoint format) {
  Tensor tensor;
  for (auto _ : state) {
    Encode(BenchmarkContext(), format, tensor.view(), tensor.room<uint8_t>());
  }
  CountBytes(state, EncodedBytes(format, kRows, kColumns));
}
BENCHMARK_CAPTURE(BM_Encode, int8, kInt8)->UseRealTime();
BENCHMARK_CAPTURE(BM_Encode, uint8, kUint8)->UseRealTime();
BENCHMARK_CAPTURE(BM_Encode, int4, kInt4)->UseRealTime();

void BM_Decode(benchmark::State& state, FixedPoint format) {
  Tensor tensor;
  for (auto _ : state) {
    Decode(BenchmarkContext(), format, tensor.room<uint8_t>(), tensor.view());
  }
  CountBytes(state, EncodedBytes(format, kRows, kColumns));
}
BENCHMARK_CAPTURE(BM_Decode, int8, kInt8)->UseRealTime();
BENCHMARK_CAPTURE(BM_Decode, uint8, kUint8)->UseRealTime();
BENCHMARK_CAPTURE(BM_Decode, int4, kInt4)->UseRealTime();

void BM_EncodeGroups(benchmark::State& state) {
  Tensor tensor;
  for (auto _ : state) EncodeGroups(BenchmarkContext(), tensor.view(), tensor.room<uint8_t>());
  CountBytes(state, GroupBytes(kRows, kColumns));
}
BENCHMARK(BM_EncodeGroups)->UseRealTime();

void BM_DecodeGroups(benchmark::State& state) {
  Tensor tensor;
  for (auto _ : state) DecodeGroups(BenchmarkContext(), tensor.room<uint8_t>(), tensor.view());
  CountBytes(state, GroupBytes(kRows, kColumns));
}
BENCHMARK(BM_DecodeGroups)->UseRealTime();

void BM_EncodeBF16(benchmark::State& state) {
  Tensor tensor;
  for (auto _ : state) EncodeBF16(BenchmarkContext(), tensor.view(), tensor.room<uint16_t>());
  CountBytes(state, kElements * int64_t{sizeof(uint16_t)});
}
BENCHMARK(BM_EncodeBF16)->UseRealTime();

void BM_DecodeBF16(benchmark::State& state) {
  Tensor tensor;
  for (auto _ : state) DecodeBF16(BenchmarkContext(), tensor.room<uint16_t>(), tensor.view());
  CountBytes(state, kElements * int64_t{sizeof(uint16_t)});
}
BENCHMARK(BM_DecodeBF16)->UseRealTime();

void BM_Prune(benchmark::State& state) {
  Tensor tensor;
  const int64_t k = KeptElements(0.1, kRows, kColumns);
  std::vector<int32_t> indices(k);
  for (auto _ : state) {
    Prune(BenchmarkContext(), tensor.view(), k, indices.data(), tensor.room<float>());
  }
  CountBytes(state, 2 * k * int64_t{sizeof(float)});
}
BENCHMARK(BM_Prune)->UseRealTime();

void BM_Unprune(benchmark::State& state) {
  Tensor tensor;
  const int64_t k = KeptElements(0.1, kRows, kColumns);
  std::vector<int32_t> indices(k);
  Prune(BenchmarkContext(), tensor.view(), k, indices.data(), tensor.room<float>());
  for (auto _ : state) {
    Unprune(BenchmarkContext(), indices.data(), tensor.room<float>(), k, tensor.view());
  }
  CountBytes(state, 2 * k * int64_t{sizeof(float)});
}
BENCHMARK(BM_Unprune)->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
