#include "server/rpc/active_calls.h"

#include "server/errors.h"

namespace whipsnake::server {

absl::Status ActiveCalls::Add(AbortableCall* call) {
  engine::MutexLock lock(mutex_);
  if (closed_) return DrainingError();
  calls_.insert(call);
  return absl::OkStatus();
}

void ActiveCalls::Remove(AbortableCall* call) {
  engine::MutexLock lock(mutex_);
  calls_.erase(call);
  if (calls_.empty()) idle_.NotifyAll();
}

void ActiveCalls::Close() {
  engine::MutexLock lock(mutex_);
  closed_ = true;
}

bool ActiveCalls::closed() const {
  engine::MutexLock lock(mutex_);
  return closed_;
}

bool ActiveCalls::WaitUntilIdle(std::chrono::steady_clock::time_point deadline) {
  engine::MutexLock lock(mutex_);
  while (!calls_.empty()) {
    if (!idle_.WaitUntil(mutex_, deadline)) return calls_.empty();
  }
  return true;
}

void ActiveCalls::AbortAll() {
  engine::MutexLock lock(mutex_);
  for (AbortableCall* call : calls_) call->Abort();
}

}  // namespace whipsnake::server
