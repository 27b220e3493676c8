// The matrix product for few rows of activations: decode, where reading the weight is the only
// cost.
#ifndef WHIPSNAKE_KERNELS_MATMUL_STREAMING_MATMUL_H_
#define WHIPSNAKE_KERNELS_MATMUL_STREAMING_MATMUL_H_

#include "kernels/activation/activation.h"
#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

constexpr int64_t kMaxStreamedRows = 16;

// Matmul() (see matmul.h) for M up to kMaxStreamedRows. Each weight row is read from memory once,
// in order, and multiplied with all rows of x while it is in the cache. The summation order of
// y[m,n] depends only on K, the weight's dtype and the instruction set: not on M, N, the position
// of the row or the number of threads.
void StreamingMatmul(const Context& context, MatrixView<const float> x, WeightView w,
                     const float* bias, MatrixView<float> y, ActivationFunction f);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_MATMUL_STREAMING_MATMUL_H_
