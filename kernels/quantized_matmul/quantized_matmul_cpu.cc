#include "kernels/cpu/isa.h"
#include "kernels/quantized_matmul/epilogue.h"
#include "kernels/quantized_matmul/forms.h"
#include "kernels/quantized_matmul/quantized_matmul.h"

namespace whipsnake::kernels {
namespace {

// Above this number of rows, repacking the weight pays off. It pays off earlier if K is short,
// because the ends of the dot products then take a larger part of the time. Measured with
// quantized_matmul_benchmark.
constexpr int64_t kMaxStreamedRows = 32;
constexpr int64_t kMaxStreamedRowsOfShortK = 8;
constexpr int64_t kShortK = 256;

bool Streams(Isa isa, int64_t m, int64_t k) {
  return isa < Isa::kVnni || m <= (k < kShortK ? kMaxStreamedRowsOfShortK : kMaxStreamedRows);
}

void Multiply(const Context& context, MatrixView<const int8_t> x, WeightView w,
              const Epilogue& epilogue) {
  if (x.rows == 0 || w.n == 0) return;
  const Isa isa = ActiveIsa();
  if (Streams(isa, x.rows, w.k)) {
    StreamingQuantizedMatmul(context, x, w, epilogue);
  } else if (isa < Isa::kAmx) {
    PackedQuantizedMatmul(context, x, w, epilogue);
  } else {
    OneDnnQuantizedMatmul(context, x, w, epilogue);
  }
}

}  // namespace

void QuantizedMatmul(const Context& context, MatrixView<const int8_t> x, WeightView w,
                     const SumScaling& scaling, MatrixView<int8_t> y) {
  Multiply(context, x, w, Epilogue(scaling, y));
}

void QuantizedMatmul(const Context& context, MatrixView<const int8_t> x, WeightView w,
                     const SumScaling& scaling, MatrixView<float> y) {
  Multiply(context, x, w, Epilogue(scaling, y));
}

}  // namespace whipsnake::kernels
