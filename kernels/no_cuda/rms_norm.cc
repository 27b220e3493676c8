#include "kernels/no_cuda/no_cuda.h"
#include "kernels/rms_norm/rms_norm_cuda.h"

namespace whipsnake::kernels::cuda {

absl::Status ResidualRmsNorm(const Context&, MatrixView<const float>, MatrixView<float>,
                             const float*, float, MatrixView<float>) {
  return NoCuda();
}

}  // namespace whipsnake::kernels::cuda
