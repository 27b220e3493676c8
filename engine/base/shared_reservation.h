// A memory reservation with several users that is counted once, at the size of the largest request.
#ifndef WHIPSNAKE_ENGINE_BASE_SHARED_RESERVATION_H_
#define WHIPSNAKE_ENGINE_BASE_SHARED_RESERVATION_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/mutex.h"

namespace whipsnake::engine {

// Thread-safe. At all times, the bytes reserved in a ledger are the largest request among the live
// handles that Book returned for it.
class SharedReservation : public std::enable_shared_from_this<SharedReservation> {
 public:
  static std::shared_ptr<SharedReservation> Make(Purpose purpose, std::string what);

  // Returns a handle that keeps at least `bytes` reserved in `ledger`. Returns RESOURCE_EXHAUSTED,
  // and changes nothing, if the ledger refuses the missing bytes. The ledger must outlive the
  // handle, which keeps this object alive.
  absl::StatusOr<std::shared_ptr<const void>> Book(Ledger& ledger, int64_t bytes);

 private:
  struct Holder;
  struct Booked {
    std::multiset<int64_t> asked;  // the request of each live handle, in bytes
    Reservation most;
  };

  SharedReservation(Purpose purpose, std::string what);
  void Leave(Ledger& ledger, int64_t bytes);

  const Purpose purpose_;
  const std::string what_;
  Mutex mutex_;
  std::map<Ledger*, Booked> booked_ ABSL_GUARDED_BY(mutex_);  // only ledgers with live handles
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_SHARED_RESERVATION_H_
