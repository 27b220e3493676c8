// Access to this process's GPU and its memory, without CUDA's headers. In a build without CUDA
// (kernels/no_cuda) every function below that can fail returns UNAVAILABLE.
#ifndef WHIPSNAKE_KERNELS_CUDA_DEVICE_H_
#define WHIPSNAKE_KERNELS_CUDA_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/context.h"

namespace whipsnake::kernels::cuda {

// Returns the name of the current device, or an error if none is usable: no driver, a driver older
// than this build's CUDA, no device, or a device that the kernels are not built for. Safe to call
// on any machine.
absl::StatusOr<std::string> UsableDevice();

// Returns OK for 0 (cudaSuccess). Otherwise returns an error with `what` (the operation that
// failed) and CUDA's description: ResourceExhausted if memory ran out, Unavailable if the device or
// its driver cannot be used, else Internal.
absl::Status ToStatus(int cuda_error, std::string_view what);

// Waits for all work on the context's stream and returns its first error.
absl::Status Synchronize(const Context& context);

// The memory of the device, for DeviceMemory (kernels/device_memory.h). Allocate returns `bytes`
// bytes, which must be more than 0, zeroed and aligned to 256 bytes, or RESOURCE_EXHAUSTED if the
// device has too little memory. The copies write all bytes of their source, for which the
// destination must have room, or of their destination span, and return when the device is done.
absl::StatusOr<std::byte*> Allocate(int64_t bytes);
void Free(std::byte* memory);  // null: nothing
absl::Status CopyFromHost(std::span<const std::byte> source, std::byte* destination);
absl::Status CopyToHost(const std::byte* source, std::span<std::byte> destination);
absl::Status CopyOnDevice(const std::byte* source, std::byte* destination, int64_t bytes);

}  // namespace whipsnake::kernels::cuda

#endif  // WHIPSNAKE_KERNELS_CUDA_DEVICE_H_
