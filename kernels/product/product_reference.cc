#include "kernels/product/product.h"

namespace whipsnake::kernels::reference {
namespace {

double ElementInMemory(const ProductOperand& operand, DType arithmetic, int64_t row, int64_t col) {
  const int64_t index = row * operand.stride + col;
  if (operand.dtype == DType::kBF16)
    return FromBF16(static_cast<const uint16_t*>(operand.data)[index]);
  const float value = static_cast<const float*>(operand.data)[index];
  return arithmetic == DType::kBF16 ? FromBF16(ToBF16(value)) : value;
}

double Element(const ProductOperand& operand, DType arithmetic, int64_t row, int64_t col) {
  return operand.transposed ? ElementInMemory(operand, arithmetic, col, row)
                            : ElementInMemory(operand, arithmetic, row, col);
}

}  // namespace

void Product(DType arithmetic, const ProductOperands& operands) {
  const MatrixView<float>& c = operands.c;
  const int64_t terms = operands.a.transposed ? operands.a.rows : operands.a.cols;
  for (int64_t m = 0; m < c.rows; ++m) {
    for (int64_t n = 0; n < c.cols; ++n) {
      double sum = operands.accumulate        ? c.row(m)[n]
                   : operands.bias != nullptr ? operands.bias[n]
                                              : 0.0f;
      for (int64_t k = 0; k < terms; ++k) {
        sum += Element(operands.a, arithmetic, m, k) * Element(operands.b, arithmetic, k, n);
      }
      c.row(m)[n] = static_cast<float>(sum);
    }
  }
}

void AddColumnSums(MatrixView<const float> g, float* sums) {
  for (int64_t n = 0; n < g.cols; ++n) {
    double sum = sums[n];
    for (int64_t m = 0; m < g.rows; ++m) sum += g.row(m)[n];
    sums[n] = static_cast<float>(sum);
  }
}

}  // namespace whipsnake::kernels::reference
