// Matrix product of activations with a checkpoint's weight.
//
//   y[m,n] = f(bias[n] + Σ_k x[m,k] · w[n,k])
//
// Letters: M rows of activations (tokens), N outputs, K inputs. The weight stays as it lies in the
// checkpoint, [N,K] row-major, for every M: nothing is packed, so mapped weights are not copied.
#ifndef WHIPSNAKE_KERNELS_MATMUL_MATMUL_H_
#define WHIPSNAKE_KERNELS_MATMUL_MATMUL_H_

#include "kernels/activation/activation.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// x[M,K] fp32; w[N,K] fp32 or bf16; bias[N] or null; y[M,N] fp32, may not alias x; f is applied
// to the sums on their way out, as Activate() would be to them.
//
// fp32 weights: fp32 products and sums. bf16 weights: x is rounded to bf16 (half to even) first,
// for every M and on every ISA; the products are exact and the sums fp32. The order of a sum
// depends on the ISA, and CPUs with bf16 instructions take operands and sums below 2^-126 in
// magnitude as zeros. NaN and infinity propagate as IEEE 754 has it.
//
// A row of y depends on that row of x alone, bit for bit: not on the other rows' values and not on
// the number of threads. Up to M = 16 (weights streamed once through dot products) it does not
// depend on M either, so that a batch's decode equals each sequence's alone; above (oneDNN's tiles)
// the order of a sum may depend on M. Work is split over M and N only, never over K.
//
// Any thread; uses the current team (kernels/cpu/team.h). M = 0 is allowed.
void Matmul(MatrixView<const float> x, WeightView w, const float* bias, MatrixView<float> y,
            ActivationFunction f = {});

// The same, with one order of summation for every M, that of M = 1: a row of y depends on that row
// of x alone, bit for bit, however many rows there are. Above M = 16 slower than Matmul().
void BatchInvariantMatmul(MatrixView<const float> x, WeightView w, const float* bias,
                          MatrixView<float> y, ActivationFunction f = {});

namespace reference {
void Matmul(MatrixView<const float> x, WeightView w, const float* bias, MatrixView<float> y,
            ActivationFunction f = {});
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_MATMUL_MATMUL_H_
