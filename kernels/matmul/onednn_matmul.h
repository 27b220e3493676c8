// The matrix product for many rows of activations: prefill, where arithmetic is the cost.
#ifndef WHIPSNAKE_KERNELS_MATMUL_ONEDNN_MATMUL_H_
#define WHIPSNAKE_KERNELS_MATMUL_ONEDNN_MATMUL_H_

#include "kernels/activation/activation.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Matmul() (see matmul.h) by oneDNN: fp32 by its sgemm; bf16 by its bf16 product where the CPU has
// the instructions (HasBF16Products()), else expanded to fp32 a tile at a time. Where oneDNN fails,
// by BatchInvariantMatmul().
void OneDnnMatmul(MatrixView<const float> x, WeightView w, const float* bias, MatrixView<float> y,
                  ActivationFunction f);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_MATMUL_ONEDNN_MATMUL_H_
