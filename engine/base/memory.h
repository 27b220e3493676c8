// Large buffers and the ledger that counts them, by purpose.
//
// Every large buffer of the engine comes from a Ledger, so that a load or a job can be refused with
// an estimate before it is tried, and so that the metrics can say what the memory is for.
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

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"

namespace whipsnake::engine {

enum class Purpose {
  kWeights,
  kStates,
  kActivations,
  kOptimizer,
  kWorkspace,
  kRequests,
  kStructured
};
inline constexpr int kPurposeCount = 7;
std::string_view Name(Purpose purpose);

class Ledger;

// Bytes that are counted in a ledger for as long as they live. Movable; empty after a move.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept { *this = std::move(other); }
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation();

  int64_t bytes() const { return bytes_; }
  // Takes over the bytes of another reservation of the same ledger and purpose.
  void Add(Reservation more);
  // Gives back what is beyond `bytes`; a smaller reservation keeps what it has.
  void ShrinkTo(int64_t bytes);

 private:
  friend class Ledger;
  Reservation(Ledger* ledger, Purpose purpose, int64_t bytes)
      : ledger_(ledger), purpose_(purpose), bytes_(bytes) {}

  Ledger* ledger_ = nullptr;
  Purpose purpose_ = Purpose::kWorkspace;
  int64_t bytes_ = 0;
};

// Owned memory, aligned to 64 bytes and zeroed. Movable.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::byte* data() const { return data_; }
  int64_t size() const { return reservation_.bytes(); }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  std::span<const std::byte> bytes() const { return {data_, static_cast<size_t>(size())}; }

 private:
  friend class Ledger;
  Buffer(std::byte* data, Reservation reservation)
      : data_(data), reservation_(std::move(reservation)) {}

  std::byte* data_ = nullptr;
  Reservation reservation_;
};

// Holds memory that it can do without, as a cache does.
class Reclaimer {
 public:
  virtual ~Reclaimer() = default;
  // Gives back what is needed least, at least `bytes` of it where there is so much, and returns how
  // much it was. Called from any thread; must neither allocate from the ledger nor wait for who
  // does.
  virtual int64_t Reclaim(int64_t bytes) = 0;
};

// Counts bytes of one device against a limit. Where a limit would be passed, those who hold memory
// that they can do without are asked for it first. Thread-safe. Must outlive what it handed out.
class Ledger {
 public:
  // limit in bytes; 0 is no limit.
  explicit Ledger(int64_t limit = 0) : limit_(limit) {}
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // RESOURCE_EXHAUSTED, naming what was asked, used and allowed, when it would pass the limit or
  // when the system has no memory; `what` names the thing in the message ("model mamba-2.8b").
  absl::StatusOr<Buffer> Allocate(int64_t bytes, Purpose purpose, std::string_view what);

  // Counts bytes that something else holds, such as a mapped file.
  absl::StatusOr<Reservation> Reserve(int64_t bytes, Purpose purpose, std::string_view what);

  // Whether `bytes` more fit now; the same error as Reserve, reserving nothing.
  absl::Status CheckFits(int64_t bytes, std::string_view what);

  // After Unregister returns, the reclaimer is not called any more.
  void Register(Reclaimer* reclaimer);
  void Unregister(Reclaimer* reclaimer);

  int64_t limit() const { return limit_; }
  int64_t used() const { return total_.load(std::memory_order_relaxed); }
  int64_t used(Purpose purpose) const {
    return used_[static_cast<int>(purpose)].load(std::memory_order_relaxed);
  }
  // The highest used() since the start or the last ResetPeak().
  int64_t peak() const { return peak_.load(std::memory_order_relaxed); }
  void ResetPeak() { peak_.store(used(), std::memory_order_relaxed); }

 private:
  friend class Reservation;
  void Release(int64_t bytes, Purpose purpose);
  // Adds to the total unless that would pass the limit, which the total never does.
  bool TryAdd(int64_t bytes);
  // OK once `try_again`, which says whether there is room, succeeds: at once, or after a reclaimer
  // has given something back.
  absl::Status MakeRoom(int64_t bytes, std::string_view what,
                        const std::function<bool()>& try_again);

  const int64_t limit_;
  Mutex reclaimers_mutex_;
  std::vector<Reclaimer*> reclaimers_ ABSL_GUARDED_BY(reclaimers_mutex_);
  std::atomic<int64_t> total_{0};
  std::atomic<int64_t> peak_{0};
  std::array<std::atomic<int64_t>, kPurposeCount> used_{};
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_MEMORY_H_
