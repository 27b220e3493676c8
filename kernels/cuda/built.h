// Whether this build has CUDA kernels.
#ifndef WHIPSNAKE_KERNELS_CUDA_BUILT_H_
#define WHIPSNAKE_KERNELS_CUDA_BUILT_H_

namespace whipsnake::kernels::cuda {

// Says nothing about the machine; see UsableDevice() in kernels/cuda/device.h.
bool Built();

}  // namespace whipsnake::kernels::cuda

#endif  // WHIPSNAKE_KERNELS_CUDA_BUILT_H_
