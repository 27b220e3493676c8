// The tests that every implementation of Store has to pass. They know store.h and a StoreBackend.
//
// A test file of an implementation instantiates them:
//   INSTANTIATE_TEST_SUITE_P(Sqlite, StoreConformance, testing::Values(Backend{"File", ...}));
#ifndef WHIPSNAKE_TESTS_SERVER_STORE_CONFORMANCE_H_
#define WHIPSNAKE_TESTS_SERVER_STORE_CONFORMANCE_H_

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/store.h"

namespace whipsnake::server {

// A clock that only tests move. Thread-safe.
class ManualClock {
 public:
  WallTime now() const { return now_; }
  void Advance(WallTime::duration time) { now_ = now() + time; }
  std::function<WallTime()> function() const {
    return [this] { return now(); };
  }

 private:
  std::atomic<WallTime> now_ = WallTime(std::chrono::hours(24 * 365 * 50));
};

// An implementation, and the machine that keeps its data. What a backend does not offer is skipped.
class StoreBackend {
 public:
  enum class Fault { kDiskFull, kSystemError };

  virtual ~StoreBackend() = default;

  // Opens a store that uses clock(). It has the data of the stores that were opened before.
  virtual absl::StatusOr<std::unique_ptr<Store>> Open() = 0;
  // Whether the data outlive the store.
  virtual bool persists() const { return true; }

  virtual bool can_crash() const { return false; }
  // Stops the machine, with everything lost that is not durable. A store that is open fails from
  // here on and can be destroyed.
  virtual void Crash() {}

  virtual bool can_fail() const { return false; }
  // Lets one access to the disk fail: the n-th that writes or syncs, counted from 1.
  virtual void Fail(Fault, int64_t) {}
  // Forgets a fault that has not happened. Returns whether it has.
  virtual bool EndFault() { return false; }

  ManualClock& clock() { return clock_; }

 private:
  ManualClock clock_;
};

struct Backend {
  std::string name;
  std::function<std::unique_ptr<StoreBackend>()> make;
};

class StoreConformance : public testing::TestWithParam<Backend> {
 protected:
  StoreConformance() : backend_(GetParam().make()) { Open(); }

  void Open();
  // Closes the store and opens it again.
  void Reopen();
  // Opens a store without data.
  void RestartEmpty();
  // Stops the machine and opens the store again.
  void CrashAndReopen();

  std::unique_ptr<StoreBackend> backend_;
  std::unique_ptr<Store> store_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_STORE_CONFORMANCE_H_
