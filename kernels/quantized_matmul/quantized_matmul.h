// Matrix product of codes with a quantized weight: 8 bits by 8 bits, summed exactly.
//
//   acc[m,n] = Σ_k x[m,k] · w[n,k]                                            in int32
//   v[m,n]   = f(acc[m,n] · multiplier[n] · row_scale[m] + bias[n])
//   y[m,n]   = v[m,n]                                                         in fp32
//   y[m,n]   = ToCode(v[m,n] · inverse_scale)                                 in int8
//
// Source: Quamba, arXiv 2410.13229, section 4. The multiplier contains the scale of w's row and, if
// x has one scale for all rows, the scale of x. For int8 outputs without an activation it also
// contains the inverse of y's scale, so that separate scales per output cost nothing.
//
// Notation: M rows of activations (tokens), N outputs, K inputs.
#ifndef WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_QUANTIZED_MATMUL_H_
#define WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_QUANTIZED_MATMUL_H_

#include <cstdint>

#include "kernels/activation/activation.h"
#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// How the sums are scaled. Owns nothing.
struct SumScaling {
  const float* multiplier = nullptr;  // [N]
  const float* bias = nullptr;        // [N] in units of v before f, or null
  const float* row_scale = nullptr;   // [M], or null for 1
  ActivationFunction f = {};
  float inverse_scale = 1;  // for int8 y
};

// x[M,K] holds codes. w[N,K] is kI8 in checkpoint layout, with any alignment. It is never packed
// permanently, so mapped weights are not copied, and one copy serves every M. y[M,N] may not alias
// x. K < 2^17, so that acc cannot overflow.
//
// acc is converted to fp32 (half to even), multiplied and added to; each operation rounds
// separately (no fused multiply-add). The result is the same, bit for bit, for every M and any
// number of threads and, if f is the identity or ReLU, on every ISA. The accuracy of any other f is
// that of Activate(). Reads nothing past the end of a row or of the weight. Callable from any
// thread; runs on the context's team. M = 0 is allowed.
void QuantizedMatmul(const Context& context, MatrixView<const int8_t> x, WeightView w,
                     const SumScaling& scaling, MatrixView<int8_t> y);
void QuantizedMatmul(const Context& context, MatrixView<const int8_t> x, WeightView w,
                     const SumScaling& scaling, MatrixView<float> y);

namespace reference {
void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const SumScaling& scaling,
                     MatrixView<int8_t> y);
void QuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const SumScaling& scaling,
                     MatrixView<float> y);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_QUANTIZED_MATMUL_H_
