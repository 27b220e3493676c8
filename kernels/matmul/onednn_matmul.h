// The matrix product for many rows of activations: prefill, where arithmetic dominates the cost.
#ifndef WHIPSNAKE_KERNELS_MATMUL_ONEDNN_MATMUL_H_
#define WHIPSNAKE_KERNELS_MATMUL_ONEDNN_MATMUL_H_

#include "kernels/activation/activation.h"
#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Matmul() (see matmul.h) with oneDNN. fp32 weights use its sgemm. bf16 weights use its bf16
// product if the CPU has the instructions (HasBF16Products()); otherwise they are expanded to fp32
// one tile at a time. Falls back to BatchInvariantMatmul() if oneDNN fails.
void OneDnnMatmul(const Context& context, MatrixView<const float> x, WeightView w,
                  const float* bias, MatrixView<float> y, ActivationFunction f);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_MATMUL_ONEDNN_MATMUL_H_
