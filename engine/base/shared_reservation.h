// Memory that several share, and that is counted once: as much as the largest of them needs.
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

// Thread-safe. What is booked in a ledger is at all times the most that one of those asked for who
// keep what Book returned.
class SharedReservation : public std::enable_shared_from_this<SharedReservation> {
 public:
  static std::shared_ptr<SharedReservation> Make(Purpose purpose, std::string what);

  // RESOURCE_EXHAUSTED when the ledger refuses what is missing; then nothing has changed. The
  // ledger outlives what is returned, which keeps this alive.
  absl::StatusOr<std::shared_ptr<const void>> Book(Ledger& ledger, int64_t bytes);

 private:
  struct Holder;
  struct Booked {
    std::multiset<int64_t> asked;  // for what each holder did
    Reservation most;
  };

  SharedReservation(Purpose purpose, std::string what);
  void Leave(Ledger& ledger, int64_t bytes);

  const Purpose purpose_;
  const std::string what_;
  Mutex mutex_;
  std::map<Ledger*, Booked> booked_ ABSL_GUARDED_BY(mutex_);  // where there are holders
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_SHARED_RESERVATION_H_
