// RMSNorm over a residual stream on an NVIDIA GPU; the formula and the letters are in rms_norm.h.
#ifndef WHIPSNAKE_KERNELS_RMS_NORM_RMS_NORM_CUDA_H_
#define WHIPSNAKE_KERNELS_RMS_NORM_RMS_NORM_CUDA_H_

#include "absl/status/status.h"
#include "kernels/cuda/device.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels::cuda {

// As kernels::ResidualRmsNorm(), with all pointers in device memory. The sums' order depends on D
// alone: a row's bits are the same whatever T, the strides and the alignment. Enqueued on the
// stream; an error of the launch is returned here, one of the execution by the next Synchronize().
absl::Status ResidualRmsNorm(MatrixView<const float> h, MatrixView<float> residual,
                             const float* gamma, float epsilon, MatrixView<float> y, Stream stream);

}  // namespace whipsnake::kernels::cuda

#endif  // WHIPSNAKE_KERNELS_RMS_NORM_RMS_NORM_CUDA_H_
