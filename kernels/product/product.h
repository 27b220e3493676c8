// The matrix products of training, with operands that may be transposed.
//
//   c[m,n] = bias[n] + Σ_k a[m,k] · b[k,n]        or        c[m,n] += Σ_k a[m,k] · b[k,n]
//
// With a linear layer y = x Wᵀ + b, W[N,K], and g = ∂L/∂y, these are the forward product x · Wᵀ and
// the backward products gx = g · W and gW = gᵀ · x. Kernels of inference, which read a weight once
// for few rows, are in kernels/matmul.
//
// Notation: M rows, N columns, K terms of each sum.
#ifndef WHIPSNAKE_KERNELS_PRODUCT_PRODUCT_H_
#define WHIPSNAKE_KERNELS_PRODUCT_PRODUCT_H_

#include <cstdint>

#include "kernels/context.h"
#include "kernels/dtype.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// A matrix as it lies in memory, fp32 or bf16, and whether the product takes its transpose. Owns
// nothing.
struct ProductOperand {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0, cols = 0, stride = 0;  // in memory, in elements
  bool transposed = false;

  ProductOperand() = default;
  ProductOperand(MatrixView<const float> view, bool is_transposed = false)  // NOLINT: implicit
      : ProductOperand(view.data, DType::kF32, view, is_transposed) {}
  ProductOperand(MatrixView<const uint16_t> view, bool is_transposed = false)  // NOLINT: implicit
      : ProductOperand(view.data, DType::kBF16, view, is_transposed) {}

  ProductOperand Transposed() const {
    ProductOperand operand = *this;
    operand.transposed = !transposed;
    return operand;
  }

 private:
  template <typename View>
  ProductOperand(const void* first, DType type, const View& view, bool is_transposed)
      : data(first),
        dtype(type),
        rows(view.rows),
        cols(view.cols),
        stride(view.stride),
        transposed(is_transposed) {}
};

struct ProductOperands {
  ProductOperand a;             // [M,K], after transposition
  ProductOperand b;             // [K,N], after transposition
  const float* bias = nullptr;  // [N] or null; must be null if the product accumulates
  bool accumulate = false;      // whether to add to c instead of overwriting it
  MatrixView<float> c;          // [M,N]; may not alias a or b
};

// Computes in fp32 (kF32; both operands must be fp32) or in bf16 (kBF16: fp32 operands are rounded
// to bf16, half to even, and the sums of the exact products are fp32).
//
// c is computed in tiles that do not depend on the number of threads, and no sum is split, so
// neither does the result, bit for bit. The order of a sum depends on the ISA and on K. CPUs with
// AMX treat bf16 operands and sums below 2^-126 in magnitude as zeros. NaN and infinity propagate
// as in IEEE 754. Callable from any thread; runs on the context's team. Uses 12 MiB of the
// context's scratch memory and 768 KiB for each thread, whatever M, N and K are. M, N or K may be
// 0.
void Product(const Context& context, DType arithmetic, const ProductOperands& operands);

// sums[n] += Σ_m g[m,n]: the gradient of a bias. The sums over rows are taken in fixed groups, so
// the result does not depend on the number of threads, bit for bit. Callable from any thread; runs
// on the context's team, which shares the columns. Uses no scratch memory.
void AddColumnSums(const Context& context, MatrixView<const float> g, float* sums);

namespace reference {
// Sums in fp64 and rounds once.
void Product(DType arithmetic, const ProductOperands& operands);
void AddColumnSums(MatrixView<const float> g, float* sums);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_PRODUCT_PRODUCT_H_
