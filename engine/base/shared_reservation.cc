#include "engine/base/shared_reservation.h"

#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {

struct SharedReservation::Holder {
  Holder(Ledger& its_ledger, int64_t asked) : ledger(its_ledger), bytes(asked) {}
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  ~Holder() {
    if (reservation != nullptr) reservation->Leave(ledger, bytes);
  }

  std::shared_ptr<SharedReservation> reservation;  // null until the bytes are booked
  Ledger& ledger;
  const int64_t bytes;
};

std::shared_ptr<SharedReservation> SharedReservation::Make(Purpose purpose, std::string what) {
  return std::shared_ptr<SharedReservation>(new SharedReservation(purpose, std::move(what)));
}

SharedReservation::SharedReservation(Purpose purpose, std::string what)
    : purpose_(purpose), what_(std::move(what)) {}

absl::StatusOr<std::shared_ptr<const void>> SharedReservation::Book(Ledger& ledger, int64_t bytes) {
  // All that may throw comes before the entry changes.
  const auto holder = std::make_shared<Holder>(ledger, bytes);
  std::multiset<int64_t> asked{bytes};
  MutexLock lock(mutex_);
  const auto found = booked_.find(&ledger);
  const int64_t booked = found != booked_.end() ? found->second.most.bytes() : 0;
  Reservation missing;
  if (bytes > booked) {
    ASSIGN_OR_RETURN(missing, ledger.Reserve(bytes - booked, purpose_, what_));
  }
  Booked& entry = booked_[&ledger];
  entry.asked.merge(asked);
  entry.most.Add(std::move(missing));
  holder->reservation = shared_from_this();
  return holder;
}

void SharedReservation::Leave(Ledger& ledger, int64_t bytes) {
  MutexLock lock(mutex_);
  const auto found = booked_.find(&ledger);
  Booked& entry = found->second;
  entry.asked.erase(entry.asked.find(bytes));
  if (entry.asked.empty()) {
    booked_.erase(found);
  } else {
    entry.most.ShrinkTo(*entry.asked.rbegin());
  }
}

}  // namespace whipsnake::engine
