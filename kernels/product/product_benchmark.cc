// The products of a training step of GPT-2 124M with 4096 tokens, and those of its head, which
// takes 320 tokens at a time. Compare within one run, as in matmul_benchmark.cc.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>

#include "kernels/benchmark_context.h"
#include "kernels/cpu/host_memory.h"
#include "kernels/product/product.h"

namespace whipsnake::kernels {
namespace {

// An array in memory like that of weights and activations, which huge pages may back.
template <typename T>
class Array {
 public:
  explicit Array(int64_t size)
      : data_(reinterpret_cast<T*>(AllocateHostMemory(size * sizeof(T)))), size_(size) {
    std::fill_n(data(), size, T());
  }
  T* data() const { return data_.get(); }
  int64_t size() const { return size_; }

 private:
  std::unique_ptr<T, FreeHostMemory> data_;
  int64_t size_;
};

// A matrix of rows × cols elements, none of them 0, in the dtype of the arithmetic: the caller of a
// product in bf16 keeps weights and activations rounded.
class Matrix {
 public:
  Matrix(DType dtype, int64_t rows, int64_t cols)
      : dtype_(dtype), rows_(rows), cols_(cols), floats_(rows * cols), halves_(rows * cols) {
    for (int64_t i = 0; i < floats_.size(); ++i) {
      floats_.data()[i] = 0.01f * (1 + i % 89);
      halves_.data()[i] = ToBF16(floats_.data()[i]);
    }
  }
  ProductOperand operand(bool transposed) const {
    if (dtype_ == DType::kF32) {
      return {MatrixView<const float>(floats_.data(), rows_, cols_), transposed};
    }
    return {MatrixView<const uint16_t>(halves_.data(), rows_, cols_), transposed};
  }

 private:
  DType dtype_;
  int64_t rows_, cols_;
  Array<float> floats_;
  Array<uint16_t> halves_;
};

// With `stored`, the dtype of the operands in memory.
void BM_Product(benchmark::State& state, DType arithmetic, DType stored) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const bool transposed_a = state.range(3) != 0, transposed_b = state.range(4) != 0;
  const Matrix a(stored, transposed_a ? k : m, transposed_a ? m : k);
  const Matrix b(stored, transposed_b ? n : k, transposed_b ? k : n);
  const Array<float> c(m * n);
  for (auto _ : state) {
    Product(BenchmarkContext(), arithmetic,
            {.a = a.operand(transposed_a),
             .b = b.operand(transposed_b),
             .accumulate = transposed_a,
             .c = {c.data(), m, n}});
    benchmark::ClobberMemory();
  }
  state.counters["FLOP/s"] =
      benchmark::Counter(2.0 * m * n * k, benchmark::Counter::kIsIterationInvariantRate);
}

void BM_AddColumnSums(benchmark::State& state) {
  const int64_t m = state.range(0), n = state.range(1);
  const Array<float> g(m * n), sums(n);
  for (auto _ : state) {
    AddColumnSums(BenchmarkContext(), {g.data(), m, n}, sums.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * m * n * static_cast<int64_t>(sizeof(float)));
}

constexpr int64_t kTokens = 4096, kHeadTokens = 320, kTokensOfVocabulary = 50257;

void Shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"M", "N", "K", "a^T", "b^T"})->UseRealTime();
  constexpr int64_t kLayers[][2] = {{768, 2304}, {768, 768}, {768, 3072}, {3072, 768}};
  for (const auto& [inputs, outputs] : kLayers) {
    benchmark->Args({kTokens, outputs, inputs, 0, 0});
    benchmark->Args({kTokens, outputs, inputs, 0, 1});
    benchmark->Args({kTokens, inputs, outputs, 0, 1});
    benchmark->Args({inputs, outputs, kTokens, 1, 0});
  }
  benchmark->Args({kHeadTokens, kTokensOfVocabulary, 768, 0, 1});
  benchmark->Args({kHeadTokens, 768, kTokensOfVocabulary, 0, 0});
  benchmark->Args({kTokensOfVocabulary, 768, kHeadTokens, 1, 0});
}

BENCHMARK_CAPTURE(BM_Product, fp32, DType::kF32, DType::kF32)->Apply(Shapes);
BENCHMARK_CAPTURE(BM_Product, bf16, DType::kBF16, DType::kBF16)->Apply(Shapes);
BENCHMARK_CAPTURE(BM_Product, bf16_of_fp32, DType::kBF16, DType::kF32)->Apply(Shapes);
BENCHMARK(BM_AddColumnSums)
    ->ArgNames({"M", "N"})
    ->ArgsProduct({{kTokens}, {768, 2304, 3072}})
    ->UseRealTime();

}  // namespace
}  // namespace whipsnake::kernels
