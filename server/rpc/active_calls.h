// The generations in progress, so that a drain can refuse new ones, wait for these and at last stop
// them.
#ifndef WHIPSNAKE_SERVER_RPC_ACTIVE_CALLS_H_
#define WHIPSNAKE_SERVER_RPC_ACTIVE_CALLS_H_

#include <chrono>
#include <unordered_set>

#include "absl/status/status.h"
#include "engine/base/mutex.h"

namespace whipsnake::server {

// A call that can be told to end early. Abort is called at most once, from any thread, and must not
// block.
class AbortableCall {
 public:
  virtual ~AbortableCall() = default;
  virtual void Abort() = 0;
};

// Thread-safe.
class ActiveCalls {
 public:
  // UNAVAILABLE, with RetryInfo, once closed. After OK the call must Leave before it goes away.
  absl::Status Enter(AbortableCall* call);
  void Leave(AbortableCall* call);

  // Refuses calls from now on.
  void Close();
  bool closed() const;
  // Whether the last call has left, by the deadline.
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
