// Large buffers and the ledger that counts their bytes by purpose.
//
// Every large buffer of the engine comes from a Ledger, so that a load or a job that does not fit
// is refused with an estimate before it starts, and so that the metrics can report memory by
// purpose.
#ifndef WHIPSNAKE_ENGINE_BASE_MEMORY_H_
#define WHIPSNAKE_ENGINE_BASE_MEMORY_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "kernels/device_memory.h"

namespace whipsnake::engine {

enum class Purpose {
  kWeights,
  kStates,
  kActivations,
  kOptimizer,
  kWorkspace,
  kRequests,
  kStructured,
  kJobs  // all that a running job has; its own ledger tells more
};
inline constexpr int kPurposeCount = 8;
std::string_view Name(Purpose purpose);

class Ledger;

// Bytes counted in a ledger until this object is destroyed. Movable; move assignment swaps.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept { *this = std::move(other); }
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation();

  int64_t bytes() const { return bytes_; }
  // Takes over the bytes of `more`, a reservation of the same ledger and purpose.
  void Add(Reservation more);
  // Releases the bytes beyond `bytes`. Does nothing if the reservation is not larger.
  void ShrinkTo(int64_t bytes);

 private:
  friend class Ledger;
  Reservation(Ledger* ledger, Purpose purpose, int64_t bytes)
      : ledger_(ledger), purpose_(purpose), bytes_(bytes) {}

  Ledger* ledger_ = nullptr;
  Purpose purpose_ = Purpose::kWorkspace;
  int64_t bytes_ = 0;
};

// Owned memory of the ledger's device, aligned to 64 bytes and zeroed. Movable; move assignment
// swaps.
class Buffer {
 public:
  Buffer() = default;

  kernels::Device device() const { return memory_.device(); }
  // An address on the device; see kernels::DeviceMemory.
  std::byte* data() const { return memory_.data(); }
  int64_t size() const { return memory_.bytes(); }
  template <typename T>
  T* as() const {
    return memory_.as<T>();
  }
  std::span<const std::byte> bytes() const { return {data(), static_cast<size_t>(size())}; }

  // As those of kernels::DeviceMemory.
  absl::Status CopyFromHost(std::span<const std::byte> source) {
    return memory_.CopyFromHost(source);
  }
  absl::Status CopyToHost(std::span<std::byte> destination) const {
    return memory_.CopyToHost(destination);
  }
  absl::Status CopyFrom(const Buffer& source) { return memory_.CopyFrom(source.memory_); }
  // Calls fill(host), which writes size() bytes to host memory, and makes them the contents. Where
  // the host can write to the device's memory, `host` is that memory.
  absl::Status Fill(absl::FunctionRef<void(std::byte* host)> fill);

 private:
  friend class Ledger;
  Buffer(kernels::DeviceMemory memory, Reservation reservation)
      : reservation_(std::move(reservation)), memory_(std::move(memory)) {}

  Reservation reservation_;
  kernels::DeviceMemory memory_;  // freed before it is released in the ledger
};

// Holds memory that it can release on demand, such as a cache.
class Reclaimer {
 public:
  virtual ~Reclaimer() = default;
  // Releases the memory that is needed least, at least `bytes` of it if it holds that much, and
  // returns the number of bytes released. Called from any thread. Must not allocate from the ledger
  // or wait for a thread that does.
  virtual int64_t Reclaim(int64_t bytes) = 0;
};

// Counts the bytes used on one device against a limit. When a request would exceed the limit, the
// registered reclaimers are first asked to release memory. Thread-safe. Must outlive everything
// that it hands out.
class Ledger {
 public:
  enum class Backing {
    kMemory,
    kNone,  // the ledger only counts, for a plan: its buffers have sizes and no addresses
  };

  // `limit` is in bytes; 0 means no limit.
  explicit Ledger(int64_t limit = 0, kernels::Device device = kernels::Device::kCpu,
                  Backing backing = Backing::kMemory)
      : device_(device), limit_(limit), backing_(backing) {}
  // A part of `parent`, of the same device: what it counts is counted there too, as
  // `parent_purpose`. The parent must outlive it.
  Ledger(int64_t limit, Ledger* parent, Purpose parent_purpose)
      : device_(parent->device_),
        limit_(limit),
        backing_(parent->backing_),
        parent_(parent),
        parent_purpose_(parent_purpose) {}
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // Returns RESOURCE_EXHAUSTED if the limit would be exceeded (the message names the bytes needed,
  // used and allowed) or if the system has no memory, and INVALID_ARGUMENT if `bytes` is negative.
  // `what` names the buffer in the message ("model mamba-2.8b"). If not `zeroed`, the contents are
  // undefined.
  absl::StatusOr<Buffer> Allocate(int64_t bytes, Purpose purpose, std::string_view what,
                                  bool zeroed = true);

  // Counts bytes held elsewhere, such as a mapped file. Same errors as Allocate.
  absl::StatusOr<Reservation> Reserve(int64_t bytes, Purpose purpose, std::string_view what);

  // Returns OK if `bytes` more fit now, otherwise the error that Reserve would return. Reserves
  // nothing, but may call the reclaimers.
  absl::Status CheckFits(int64_t bytes, std::string_view what);

  // After Unregister returns, the reclaimer is no longer called.
  void Register(Reclaimer* reclaimer);
  void Unregister(Reclaimer* reclaimer);

  kernels::Device device() const { return device_; }
  int64_t limit() const { return limit_; }
  bool has_memory() const { return backing_ == Backing::kMemory; }
  int64_t used() const { return total_.load(std::memory_order_relaxed); }
  int64_t used(Purpose purpose) const {
    return used_[static_cast<int>(purpose)].load(std::memory_order_relaxed);
  }
  // The highest used() since construction or the last ResetPeak().
  int64_t peak() const { return peak_.load(std::memory_order_relaxed); }
  void ResetPeak() { peak_.store(used(), std::memory_order_relaxed); }

 private:
  friend class Reservation;
  void Release(int64_t bytes, Purpose purpose);
  void ReleaseHere(int64_t bytes, Purpose purpose);  // and not in the parent
  // Counts the bytes, here and in the parent, or returns the error of Reserve.
  absl::Status Add(int64_t bytes, Purpose purpose, std::string_view what);
  // Adds `bytes` to the total and returns true, unless the total would exceed the limit.
  bool TryAdd(int64_t bytes);
  // Calls `try_again` immediately and after each reclaim, until it returns true (there is room).
  // Returns RESOURCE_EXHAUSTED if it never does.
  absl::Status MakeRoom(int64_t bytes, std::string_view what,
                        const std::function<bool()>& try_again);

  const kernels::Device device_;
  const int64_t limit_;
  const Backing backing_;
  Ledger* const parent_ = nullptr;
  const Purpose parent_purpose_ = Purpose::kWorkspace;
  Mutex reclaimers_mutex_;
  std::vector<Reclaimer*> reclaimers_ ABSL_GUARDED_BY(reclaimers_mutex_);
  std::atomic<int64_t> total_{0};
  std::atomic<int64_t> peak_{0};
  std::array<std::atomic<int64_t>, kPurposeCount> used_{};
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_MEMORY_H_
