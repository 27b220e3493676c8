// The matrix product for many rows of activations: prefill, where arithmetic is the cost.
#ifndef WHIPSNAKE_KERNELS_MATMUL_ONEDNN_MATMUL_H_
#define WHIPSNAKE_KERNELS_MATMUL_ONEDNN_MATMUL_H_

#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Matmul() (see matmul.h) by oneDNN's sgemm. bf16 operands are expanded to fp32 a tile at a time,
// so that the arithmetic is the same on every instruction set.
void OneDnnMatmul(MatrixView<const float> x, WeightView w, const float* bias, MatrixView<float> y);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_MATMUL_ONEDNN_MATMUL_H_
