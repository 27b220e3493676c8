#include "kernels/matmul/matmul.h"
#include "kernels/matmul/onednn_matmul.h"
#include "kernels/matmul/streaming_matmul.h"

namespace whipsnake::kernels {

void Matmul(MatrixView<const float> x, WeightView w, const float* bias, MatrixView<float> y,
            ActivationFunction f) {
  if (x.rows == 0 || w.n == 0) return;
  // Beyond these rows oneDNN's tiles, which reuse both operands, are faster (matmul_benchmark).
  if (x.rows <= kMaxStreamedRows) {
    StreamingMatmul(x, w, bias, y, f);
  } else {
    OneDnnMatmul(x, w, bias, y, f);
  }
}

}  // namespace whipsnake::kernels
