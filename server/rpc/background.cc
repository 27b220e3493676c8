#include "server/rpc/background.h"

#include <string>
#include <utility>

#include "server/errors.h"

namespace whipsnake::server {

Background::~Background() {
  engine::MutexLock lock(mutex_);
  while (tasks_ > 0) idle_.Wait(mutex_);
}

absl::Status Background::Run(std::function<void()> task) {
  {
    engine::MutexLock lock(mutex_);
    if (tasks_ >= max_tasks_) {
      return WithReason(
          absl::ResourceExhaustedError(std::to_string(tasks_) +
                                       " models are being loaded or unloaded, the most "
                                       "at a time"),
          "TOO_MANY_LOADS");
    }
    ++tasks_;
  }
  // Detached, but waited for: the last thing that a thread does is to say, under the lock, that it
  // is done.
  std::thread([this, task = std::move(task)] {
    task();
    engine::MutexLock lock(mutex_);
    if (--tasks_ == 0) idle_.NotifyAll();
  }).detach();
  return absl::OkStatus();
}

}  // namespace whipsnake::server
