#include "server/cli/interruption.h"

#include <grpcpp/client_context.h>

namespace whipsnake::server {

bool Interruption::raised() const {
  engine::MutexLock lock(mutex_);
  return raised_;
}

bool Interruption::Sleep(std::chrono::milliseconds duration) {
  const auto end = std::chrono::steady_clock::now() + duration;
  engine::MutexLock lock(mutex_);
  while (!raised_ && wake_.WaitUntil(mutex_, end)) {
  }
  return !raised_;
}

void Interruption::Raise() {
  engine::MutexLock lock(mutex_);
  raised_ = true;
  if (call_ != nullptr) call_->TryCancel();
  wake_.NotifyAll();
}

void Interruption::SetCall(grpc::ClientContext* context) {
  engine::MutexLock lock(mutex_);
  call_ = context;
  if (raised_ && call_ != nullptr) call_->TryCancel();
}

}  // namespace whipsnake::server
