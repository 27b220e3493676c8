#include "kernels/cuda/device.h"

#include <cuda_runtime_api.h>

#include <utility>

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

absl::StatusOr<DeviceBuffer> DeviceBuffer::Allocate(int64_t bytes) {
  void* data = nullptr;
  if (bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("device memory: ", bytes, " bytes, expected >= 0"));
  }
  if (bytes > 0) {
    const absl::Status status =
        ToStatus(cudaMalloc(&data, bytes), absl::StrCat("allocating ", bytes, " bytes on the GPU"));
    if (!status.ok()) return status;
  }
  return DeviceBuffer(data, bytes);
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) cudaFree(data_);
}

absl::Status DeviceBuffer::CopyFromHost(const void* source) {
  return ToStatus(cudaMemcpy(data_, source, bytes_, cudaMemcpyHostToDevice), "copying to the GPU");
}

absl::Status DeviceBuffer::CopyToHost(void* destination) const {
  return ToStatus(cudaMemcpy(destination, data_, bytes_, cudaMemcpyDeviceToHost),
                  "copying from the GPU");
}

}  // namespace whipsnake::kernels::cuda
