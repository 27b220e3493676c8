#include "kernels/cuda/device.h"

#include "kernels/no_cuda/no_cuda.h"

namespace whipsnake::kernels::cuda {

absl::StatusOr<std::string> UsableDevice() { return NoCuda(); }

absl::Status ToStatus(int cuda_error, std::string_view) {
  return cuda_error == 0 ? absl::OkStatus() : NoCuda();
}

absl::Status Synchronize(const Context&) { return NoCuda(); }

absl::StatusOr<std::byte*> Allocate(int64_t) { return NoCuda(); }
void Free(std::byte*) {}
absl::Status CopyFromHost(std::span<const std::byte>, std::byte*) { return NoCuda(); }
absl::Status CopyToHost(const std::byte*, std::span<std::byte>) { return NoCuda(); }
absl::Status CopyOnDevice(const std::byte*, std::byte*, int64_t) { return NoCuda(); }

}  // namespace whipsnake::kernels::cuda
