// Access to this process's GPU and its memory, without CUDA's headers. In a build without CUDA
// (kernels/no_cuda) every function below that can fail returns UNAVAILABLE.
#ifndef WHIPSNAKE_KERNELS_CUDA_DEVICE_H_
#define WHIPSNAKE_KERNELS_CUDA_DEVICE_H_

#include <cstdint>
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

// Owns device memory. Movable. May be used from any thread, but only one at a time.
class DeviceBuffer {
 public:
  // Returns InvalidArgument if bytes < 0, ResourceExhausted if the device has too little memory.
  static absl::StatusOr<DeviceBuffer> Allocate(int64_t bytes);

  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  ~DeviceBuffer();

  // Copy all bytes() of the buffer from or to host memory, and return when the copy is done.
  absl::Status CopyFromHost(const void* source);
  absl::Status CopyToHost(void* destination) const;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  int64_t bytes() const { return bytes_; }

 private:
  DeviceBuffer(void* data, int64_t bytes) : data_(data), bytes_(bytes) {}

  void* data_;
  int64_t bytes_;
};

}  // namespace whipsnake::kernels::cuda

#endif  // WHIPSNAKE_KERNELS_CUDA_DEVICE_H_
