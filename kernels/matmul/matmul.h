// Matrix product of activations with a checkpoint's weight.
//
//   y[m,n] = f(bias[n] + Σ_k x[m,k] · w[n,k])
//
// Notation: M rows of activations (tokens), N outputs, K inputs. For every M the weight stays in
// checkpoint layout, [N,K] row-major. It is not packed, so mapped weights are not copied.
#ifndef WHIPSNAKE_KERNELS_MATMUL_MATMUL_H_
#define WHIPSNAKE_KERNELS_MATMUL_MATMUL_H_

#include "kernels/activation/activation.h"
#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// x[M,K] fp32; w[N,K] fp32 or bf16; bias[N] or null; y[M,N] fp32, which may not alias x. f is
// applied to the sums when they are written, as by Activate().
//
// With fp32 weights, products and sums are fp32. With bf16 weights, x is first rounded to bf16
// (half to even), for every M and on every ISA; the products are exact and the sums fp32. The order
// of a sum depends on the ISA. CPUs with bf16 instructions treat operands and sums below 2^-126 in
// magnitude as zeros. NaN and infinity propagate as in IEEE 754.
//
// A row of y depends on its row of x alone, bit for bit: not on the values of other rows, and not
// on the number of threads. Up to M = 16 (the weight is streamed once through dot products) it does
// not depend on M either, so a batched decode equals the decode of each sequence alone. Above that
// (oneDNN's tiles) the order of a sum may depend on M. Work is split over M and N only, never over
// K.
//
// Callable from any thread; runs on the context's team. M = 0 is allowed.
void Matmul(const Context& context, MatrixView<const float> x, WeightView w, const float* bias,
            MatrixView<float> y, ActivationFunction f = {});

// The same, with the summation order of M = 1 for every M: a row of y depends on its row of x
// alone, bit for bit, for any number of rows. Slower than Matmul() above M = 16.
void BatchInvariantMatmul(const Context& context, MatrixView<const float> x, WeightView w,
                          const float* bias, MatrixView<float> y, ActivationFunction f = {});

namespace reference {
void Matmul(MatrixView<const float> x, WeightView w, const float* bias, MatrixView<float> y,
            ActivationFunction f = {});
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_MATMUL_MATMUL_H_
