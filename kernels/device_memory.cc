#include "kernels/device_memory.h"

#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/host_memory.h"
#include "kernels/cuda/device.h"

namespace whipsnake::kernels {
namespace {

absl::StatusOr<std::byte*> AllocateOnHost(int64_t bytes, bool zeroed) {
  std::byte* const data = AllocateHostMemory(bytes);
  if (data == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the system has no ", bytes, " bytes of memory"));
  }
  if (zeroed) std::memset(data, 0, static_cast<size_t>(bytes));
  return data;
}

}  // namespace

absl::StatusOr<DeviceMemory> DeviceMemory::Allocate(Device device, int64_t bytes, bool zeroed) {
  if (bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("device memory: ", bytes, " bytes seen, expected 0 or more"));
  }
  if (bytes == 0) return DeviceMemory(device, nullptr, 0);
  absl::StatusOr<std::byte*> data =
      device == Device::kCuda ? cuda::Allocate(bytes) : AllocateOnHost(bytes, zeroed);
  if (!data.ok()) return data.status();
  return DeviceMemory(device, *data, bytes);
}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

DeviceMemory::~DeviceMemory() {
  if (device_ == Device::kCuda) {
    cuda::Free(data_);
  } else {
    std::free(data_);
  }
}

absl::Status DeviceMemory::CopyFromHost(std::span<const std::byte> source) {
  if (device_ == Device::kCuda) return cuda::CopyFromHost(source, data_);
  if (!source.empty()) std::memcpy(data_, source.data(), source.size());
  return absl::OkStatus();
}

absl::Status DeviceMemory::CopyToHost(std::span<std::byte> destination) const {
  if (device_ == Device::kCuda) return cuda::CopyToHost(data_, destination);
  if (!destination.empty()) std::memcpy(destination.data(), data_, destination.size());
  return absl::OkStatus();
}

absl::Status DeviceMemory::CopyFrom(const DeviceMemory& source) {
  if (device_ == Device::kCuda) return cuda::CopyOnDevice(source.data_, data_, source.bytes_);
  if (source.bytes_ > 0) std::memcpy(data_, source.data_, source.bytes_);
  return absl::OkStatus();
}

}  // namespace whipsnake::kernels
