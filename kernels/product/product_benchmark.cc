// The products of a training step of GPT-2 124M with 4096 tokens, and those of its head, which
// takes 320 tokens at a time. Compare within one run, as in matmul_benchmark.cc.
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/benchmark_context.h"
#include "kernels/product/product.h"

namespace whipsnake::kernels {
namespace {

// A matrix of rows × cols elements, none of them 0, in the dtype of the arithmetic: the caller of a
// product in bf16 keeps weights and activations rounded.
class Matrix {
 public:
  Matrix(DType dtype, int64_t rows, int64_t cols)
      : dtype_(dtype), rows_(rows), cols_(cols), floats_(rows * cols) {
    for (size_t i = 0; i < floats_.size(); ++i) floats_[i] = 0.01f * (1 + i % 89);
    for (const float value : floats_) halves_.push_back(ToBF16(value));
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
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
};

// With `stored`, the dtype of the operands in memory.
void BM_Product(benchmark::State& state, DType arithmetic, DType stored) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const bool transposed_a = state.range(3) != 0, transposed_b = state.range(4) != 0;
  const Matrix a(stored, transposed_a ? k : m, transposed_a ? m : k);
  const Matrix b(stored, transposed_b ? n : k, transposed_b ? k : n);
  std::vector<float> c(m * n);
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

}  // namespace
}  // namespace whipsnake::kernels
