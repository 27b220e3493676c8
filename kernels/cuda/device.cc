#include "kernels/cuda/device.h"

#include <cuda_runtime_api.h>

#include "absl/strings/str_cat.h"

namespace whipsnake::kernels::cuda {

absl::Status ToStatus(int cuda_error, std::string_view what) {
  const auto error = static_cast<cudaError_t>(cuda_error);
  if (error == cudaSuccess) return absl::OkStatus();
  const std::string message =
      absl::StrCat(std::string(what), ": CUDA error ", cuda_error, ", ", cudaGetErrorString(error));
  switch (error) {
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(message);
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
    case cudaErrorStubLibrary:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInitializationError:
      return absl::UnavailableError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::StatusOr<std::string> UsableDevice() {
  int driver = 0;
  absl::Status status = ToStatus(cudaDriverGetVersion(&driver), "no usable GPU");
  if (!status.ok()) return status;
  if (driver == 0) return absl::UnavailableError("no usable GPU: no NVIDIA driver is installed");
  int count = 0;
  status = ToStatus(cudaGetDeviceCount(&count), "no usable GPU");
  if (!status.ok()) return status;
  int device = 0;
  status = ToStatus(cudaGetDevice(&device), "no usable GPU");
  if (!status.ok()) return status;
  cudaDeviceProp properties;
  status = ToStatus(cudaGetDeviceProperties(&properties, device), "no usable GPU");
  if (!status.ok()) return status;
  constexpr int kOldestMajor = 8;  // sm_80, the oldest architecture that the kernels are built for
  if (properties.major < kOldestMajor) {
    return absl::UnavailableError(absl::StrCat("no usable GPU: ", properties.name,
                                               " has compute capability ", properties.major, ".",
                                               properties.minor, ", expected 8.0 or newer"));
  }
  return std::string(properties.name);
}

absl::Status Synchronize(const Context& context) {
  return ToStatus(cudaStreamSynchronize(context.stream), "waiting for the GPU");
}

absl::StatusOr<std::byte*> Allocate(int64_t bytes) {
  void* memory = nullptr;
  absl::Status status =
      ToStatus(cudaMalloc(&memory, bytes), absl::StrCat("allocating ", bytes, " bytes on the GPU"));
  if (!status.ok()) return status;
  status = ToStatus(cudaMemset(memory, 0, bytes), "clearing memory of the GPU");
  if (status.ok()) status = ToStatus(cudaStreamSynchronize(nullptr), "clearing memory of the GPU");
  if (!status.ok()) {
    cudaFree(memory);
    return status;
  }
  return static_cast<std::byte*>(memory);
}

void Free(std::byte* memory) {
  if (memory != nullptr) cudaFree(memory);
}

namespace {

// A copy may return before the device has the data, so this waits for it.
absl::Status CopyAndWait(void* destination, const void* source, size_t bytes, cudaMemcpyKind kind,
                         const char* what) {
  if (bytes == 0) return absl::OkStatus();
  absl::Status status = ToStatus(cudaMemcpy(destination, source, bytes, kind), what);
  if (status.ok()) status = ToStatus(cudaStreamSynchronize(nullptr), what);
  return status;
}

}  // namespace

absl::Status CopyFromHost(std::span<const std::byte> source, std::byte* destination) {
  return CopyAndWait(destination, source.data(), source.size(), cudaMemcpyHostToDevice,
                     "copying to the GPU");
}

absl::Status CopyToHost(const std::byte* source, std::span<std::byte> destination) {
  return CopyAndWait(destination.data(), source, destination.size(), cudaMemcpyDeviceToHost,
                     "copying from the GPU");
}

absl::Status CopyOnDevice(const std::byte* source, std::byte* destination, int64_t bytes) {
  return CopyAndWait(destination, source, bytes, cudaMemcpyDeviceToDevice, "copying on the GPU");
}

}  // namespace whipsnake::kernels::cuda
