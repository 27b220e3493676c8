// Owned memory of a device.
#ifndef WHIPSNAKE_KERNELS_DEVICE_MEMORY_H_
#define WHIPSNAKE_KERNELS_DEVICE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/context.h"

namespace whipsnake::kernels {

// Zeroed when it is allocated and aligned to kAlignment bytes. Movable; move assignment swaps. May
// be used from any thread, but only one at a time may write.
class DeviceMemory {
 public:
  static constexpr int64_t kAlignment = 64;

  DeviceMemory() = default;
  // Returns INVALID_ARGUMENT if bytes < 0, RESOURCE_EXHAUSTED if the device has no such memory
  // left, UNAVAILABLE if the device cannot be used. For 0 bytes data() is null. If not `zeroed`,
  // the contents are undefined.
  static absl::StatusOr<DeviceMemory> Allocate(Device device, int64_t bytes, bool zeroed = true);
  // Stands for so many bytes in counts of memory, and has none: data() is null.
  static DeviceMemory WithoutMemory(Device device, int64_t bytes) {
    return DeviceMemory(device, nullptr, bytes);
  }
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  ~DeviceMemory();

  Device device() const { return device_; }
  int64_t bytes() const { return bytes_; }
  // An address on the device: only operations whose context has the same device may use it.
  std::byte* data() const { return data_; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

  // These copy the first bytes of the memory and return when the copy is done. The host's span, or
  // the other memory, must not be larger.
  absl::Status CopyFromHost(std::span<const std::byte> source);
  absl::Status CopyToHost(std::span<std::byte> destination) const;
  absl::Status CopyFrom(const DeviceMemory& source);  // on the same device

 private:
  DeviceMemory(Device device, std::byte* data, int64_t bytes)
      : device_(device), data_(data), bytes_(bytes) {}

  Device device_ = Device::kCpu;
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_DEVICE_MEMORY_H_
