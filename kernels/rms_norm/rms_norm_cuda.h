// RMSNorm over a residual stream on an NVIDIA GPU. The formula and the notation are in rms_norm.h.
#ifndef WHIPSNAKE_KERNELS_RMS_NORM_RMS_NORM_CUDA_H_
#define WHIPSNAKE_KERNELS_RMS_NORM_RMS_NORM_CUDA_H_

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels::cuda {

// The same as kernels::ResidualRmsNorm(), with all pointers in device memory. The order of the sums
// depends on D alone, so a row's bits do not depend on T, the strides or the alignment. The work is
// enqueued on the context's stream. Returns an error if the launch fails, and UNAVAILABLE in a
// build without CUDA; the next Synchronize() returns execution errors.
absl::Status ResidualRmsNorm(const Context& context, MatrixView<const float> h,
                             MatrixView<float> residual, const float* gamma, float epsilon,
                             MatrixView<float> y);

}  // namespace whipsnake::kernels::cuda

#endif  // WHIPSNAKE_KERNELS_RMS_NORM_RMS_NORM_CUDA_H_
