// Tracks the generations in progress, so that a drain can refuse new ones, wait for the running
// ones, and finally abort them.
#ifndef WHIPSNAKE_SERVER_RPC_ACTIVE_CALLS_H_
#define WHIPSNAKE_SERVER_RPC_ACTIVE_CALLS_H_

#include <chrono>
#include <unordered_set>

#include "absl/status/status.h"
#include "engine/base/mutex.h"

namespace whipsnake::server {

// A call that can be aborted. Abort is called at most once, on any thread, and must not block.
class AbortableCall {
 public:
  virtual ~AbortableCall() = default;
  virtual void Abort() = 0;
};

// Thread-safe.
class ActiveCalls {
 public:
  // Returns UNAVAILABLE, with RetryInfo, once closed. After OK the call must be removed before it
  // is destroyed.
  absl::Status Add(AbortableCall* call);
  void Remove(AbortableCall* call);

  // Refuses new calls.
  void Close();
  bool closed() const;
  // Waits until no call is left, or until the deadline. Returns whether no call is left.
  bool WaitUntilIdle(std::chrono::steady_clock::time_point deadline);
  void AbortAll();

 private:
  mutable engine::Mutex mutex_;
  engine::CondVar idle_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::unordered_set<AbortableCall*> calls_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_ACTIVE_CALLS_H_
