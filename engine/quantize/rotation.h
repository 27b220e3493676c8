// Rotations of weights by a Hadamard matrix, exact in real arithmetic, done in fp32.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_ROTATION_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_ROTATION_H_

#include "kernels/matrix.h"

namespace whipsnake::engine {

// Each row: w ← H w / √K. So W x = (W Hᵀ/√K) (H x/√K). K = weight.cols has a Hadamard matrix.
void RotateRows(kernels::MatrixView<float> weight);

// Each column: w ← H w / √N, N = weight.rows: the outputs come out rotated.
void RotateColumns(kernels::MatrixView<float> weight);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_ROTATION_H_
