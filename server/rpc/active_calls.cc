#include "server/rpc/active_calls.h"

#include "server/errors.h"

namespace whipsnake::server {

absl::Status ActiveCalls::Enter(AbortableCall* call) {
  std::lock_guard lock(mutex_);
  if (closed_) return DrainingError();
  calls_.insert(call);
  return absl::OkStatus();
}

void ActiveCalls::Leave(AbortableCall* call) {
  std::lock_guard lock(mutex_);
  calls_.erase(call);
  if (calls_.empty()) idle_.notify_all();
}

void ActiveCalls::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
}

bool ActiveCalls::closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

bool ActiveCalls::WaitUntilIdle(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return idle_.wait_until(lock, deadline, [this] { return calls_.empty(); });
}

void ActiveCalls::AbortAll() {
  std::lock_guard lock(mutex_);
  for (AbortableCall* call : calls_) call->Abort();
}

}  // namespace whipsnake::server
