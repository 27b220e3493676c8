// Rotates weights by a Hadamard matrix. Exact in real arithmetic; computed in fp32.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_ROTATION_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_ROTATION_H_

#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// Each row: w ← H w / √K, so that W x = (W Hᵀ/√K) (H x/√K). K = weight.cols must have a Hadamard
// matrix.
void RotateRows(const kernels::Context& context, kernels::MatrixView<float> weight);

// Each column: w ← H w / √N, so that the outputs are rotated. N = weight.rows must have a Hadamard
// matrix.
void RotateColumns(const kernels::Context& context, kernels::MatrixView<float> weight);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_ROTATION_H_
