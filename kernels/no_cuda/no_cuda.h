// What every function of kernels/no_cuda answers.
#ifndef WHIPSNAKE_KERNELS_NO_CUDA_NO_CUDA_H_
#define WHIPSNAKE_KERNELS_NO_CUDA_NO_CUDA_H_

#include "absl/status/status.h"

namespace whipsnake::kernels::cuda {

inline absl::Status NoCuda() { return absl::UnavailableError("this build has no CUDA"); }

}  // namespace whipsnake::kernels::cuda

#endif  // WHIPSNAKE_KERNELS_NO_CUDA_NO_CUDA_H_
