// Matrix product of codes with a quantized weight: 8 bits by 8 bits, summed exactly.
//
//   acc[m,n] = Σ_k x[m,k] · w[n,k]                                            in int32
//   y[m,n]   = ToCode(acc[m,n] · multiplier[n] + bias[n])                     in int8
//   y[m,n]   = acc[m,n] · multiplier[n] + bias[n]                             in fp32
//
// Source: Quamba, arXiv 2410.13229, section 4. The multiplier holds the scales of x and of w's row
// and, for codes, the inverse of y's: scales of each output cost nothing.
//
// Letters: M rows of activations (tokens), N outputs, K inputs.
#ifndef WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_QUANTIZED_MATMUL_H_
#define WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_QUANTIZED_MATMUL_H_

#include <cstdint>

#include "kernels/matrix.h"

namespace whipsnake::kernels {

// x[M,K] codes; w[N,K] of kI8, as it lies in the checkpoint (nothing is packed for good, so mapped
// weights are not copied, and one copy serves every M; any alignment); multiplier[N]; bias[N], in
// units of y, or null; y[M,N] may not alias x. K < 2^17, for which no acc overflows.
//
// acc is converted to fp32 (half to even), then multiplied, then added to, each rounded by itself
// (no fused multiply-add): the result is the same, bit for bit, on every ISA, for every M and any
// number of threads. Nothing past a row's or a weight's end is read. Any thread; uses the current
// team (kernels/cpu/team.h). M = 0 is allowed.
void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const float* multiplier,
                     const float* bias, MatrixView<int8_t> y);
void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const float* multiplier,
                     const float* bias, MatrixView<float> y);

namespace reference {
void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const float* multiplier,
                     const float* bias, MatrixView<int8_t> y);
void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const float* multiplier,
                     const float* bias, MatrixView<float> y);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_QUANTIZED_MATMUL_H_
