// Matrix product of codes with a quantized weight: 8 bits by 8 bits, summed exactly.
//
//   acc[m,n] = Σ_k x[m,k] · w[n,k]                                            in int32
//   v[m,n]   = f(acc[m,n] · multiplier[n] · row_scale[m] + bias[n])
//   y[m,n]   = v[m,n]                                                         in fp32
//   y[m,n]   = ToCode(v[m,n] · inverse_scale)                                 in int8
//
// Source: Quamba, arXiv 2410.13229, section 4. The multiplier holds the scales of w's row and of x,
// where x has one for all rows, and, for codes without an activation, the inverse of y's: scales of
// each output cost nothing.
//
// Letters: M rows of activations (tokens), N outputs, K inputs.
#ifndef WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_QUANTIZED_MATMUL_H_
#define WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_QUANTIZED_MATMUL_H_

#include <cstdint>

#include "kernels/activation/activation.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// What becomes of the sums.
struct SumScaling {
  const float* multiplier = nullptr;  // [N]
  const float* bias = nullptr;        // [N], in units of v, or null
  const float* row_scale = nullptr;   // [M], or null: 1
  ActivationFunction f = {};
  float inverse_scale = 1;  // of codes
};

// x[M,K] codes; w[N,K] of kI8, as it lies in the checkpoint (nothing is packed for good, so mapped
// weights are not copied, and one copy serves every M; any alignment); y[M,N] may
// not alias x. K < 2^17, for which no acc overflows.
//
// acc is converted to fp32 (half to even), then multiplied, then added to, each rounded by itself
// (no fused multiply-add): the result is the same, bit for bit, for every M and any number of
// threads and, where f is the identity or ReLU, on every ISA; any other f is as Activate() has it.
// Nothing past a row's or a weight's end is read. Any thread; uses the current team
// (kernels/cpu/team.h). M = 0 is allowed.
void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const SumScaling& scaling,
                     MatrixView<int8_t> y);
void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const SumScaling& scaling,
                     MatrixView<float> y);

namespace reference {
void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const SumScaling& scaling,
                     MatrixView<int8_t> y);
void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const SumScaling& scaling,
                     MatrixView<float> y);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_QUANTIZED_MATMUL_H_
