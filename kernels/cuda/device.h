// The GPU of this process, without CUDA's headers: whether there is one, and its memory.
#ifndef WHIPSNAKE_KERNELS_CUDA_DEVICE_H_
#define WHIPSNAKE_KERNELS_CUDA_DEVICE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct CUstream_st;

namespace whipsnake::kernels::cuda {

// The same type as cudaStream_t; null is the default stream.
using Stream = CUstream_st*;

// The name of the current device, or why there is none to use: no driver, a driver older than this
// build's CUDA, no device, or one that the kernels were not built for. Safe on any machine.
absl::StatusOr<std::string> UsableDevice();

// OK for 0 (cudaSuccess), else an error that names `what` was tried and what CUDA says of it:
// ResourceExhausted where memory ran out, Unavailable where there is no device, else Internal.
absl::Status ToStatus(int cuda_error, std::string_view what);

// Waits for all work on the stream, and returns the first error of it.
absl::Status Synchronize(Stream stream = nullptr);

// Owns memory on the device. Movable. Any thread, one at a time.
class DeviceBuffer {
 public:
  static absl::StatusOr<DeviceBuffer> Allocate(int64_t bytes);

  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  ~DeviceBuffer();

  // All bytes() of it from or to host memory; returns when done.
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
