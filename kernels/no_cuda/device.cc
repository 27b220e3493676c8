#include "kernels/cuda/device.h"

#include <utility>

#include "kernels/no_cuda/no_cuda.h"

namespace whipsnake::kernels::cuda {

absl::StatusOr<std::string> UsableDevice() { return NoCuda(); }

absl::Status ToStatus(int cuda_error, std::string_view) {
  return cuda_error == 0 ? absl::OkStatus() : NoCuda();
}

absl::Status Synchronize(const Context&) { return NoCuda(); }

// There is no buffer without memory, so the other functions only have to link.
absl::StatusOr<DeviceBuffer> DeviceBuffer::Allocate(int64_t) { return NoCuda(); }

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept = default;
DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept = default;
DeviceBuffer::~DeviceBuffer() = default;

absl::Status DeviceBuffer::CopyFromHost(const void*) { return NoCuda(); }
absl::Status DeviceBuffer::CopyToHost(void*) const { return NoCuda(); }

}  // namespace whipsnake::kernels::cuda
