// A vector whose memory is counted in a ledger.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_BOOKED_VECTOR_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_BOOKED_VECTOR_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/memory.h"
#include "engine/base/status.h"

namespace whipsnake::engine {

// Grows by doubling; both copies are counted while it does. Not thread-safe. The ledger must
// outlive it.
template <typename T>
class BookedVector {
 public:
  BookedVector(Ledger* ledger, Purpose purpose, std::string what)
      : ledger_(ledger), purpose_(purpose), what_(std::move(what)) {}

  // Returns RESOURCE_EXHAUSTED, and adds nothing, if the ledger has no room.
  absl::Status PushBack(T value) {
    if (values_.size() == values_.capacity()) {
      RETURN_IF_ERROR(SetCapacity(std::max<int64_t>(2 * size(), kSmallestCapacity)));
    }
    values_.push_back(std::move(value));
    return absl::OkStatus();
  }

  // Sets the size. Errors as from PushBack.
  absl::Status Resize(int64_t count) {
    if (count > std::ssize(values_)) RETURN_IF_ERROR(SetCapacity(count));
    values_.resize(count);
    return absl::OkStatus();
  }

  int64_t size() const { return std::ssize(values_); }
  T& operator[](int64_t i) { return values_[i]; }
  const T& operator[](int64_t i) const { return values_[i]; }
  auto begin() { return values_.begin(); }
  auto end() { return values_.end(); }
  auto begin() const { return values_.begin(); }
  auto end() const { return values_.end(); }

 private:
  static constexpr int64_t kSmallestCapacity = 64;

  absl::Status SetCapacity(int64_t count) {
    ASSIGN_OR_RETURN(Reservation larger,
                     ledger_->Reserve(count * static_cast<int64_t>(sizeof(T)), purpose_, what_));
    values_.reserve(count);
    reservation_ = std::move(larger);
    return absl::OkStatus();
  }

  Ledger* ledger_;
  Purpose purpose_;
  std::string what_;
  Reservation reservation_;
  std::vector<T> values_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_BOOKED_VECTOR_H_
