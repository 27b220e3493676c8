#include "server/work/background.h"

#include <string>
#include <thread>
#include <utility>

#include "engine/base/exceptions.h"
#include "server/errors.h"
#include "server/guarded.h"

namespace whipsnake::server {

Background::~Background() {
  engine::MutexLock lock(mutex_);
  while (tasks_ > 0) idle_.Wait(mutex_);
}

absl::Status Background::ReserveTask() {
  engine::MutexLock lock(mutex_);
  if (tasks_ < max_tasks_) {
    ++tasks_;
    return absl::OkStatus();
  }
  return WithReason(absl::ResourceExhaustedError(
                        "too many models are being loaded, unloaded or promoted, or jobs "
                        "planned (limit " +
                        std::to_string(max_tasks_) + ")"),
                    "TOO_MANY_LOADS");
}

void Background::ReleaseTask() {
  engine::MutexLock lock(mutex_);
  if (--tasks_ == 0) idle_.NotifyAll();
}

absl::Status Background::Run(std::function<absl::Status()> task,
                             std::function<void(absl::Status)> done) {
  if (absl::Status full = ReserveTask(); !full.ok()) return full;
  const auto start = [&] {
    // The thread is detached, but the destructor waits for it: its last action is to report, with
    // the lock held, that it is done.
    std::thread([this, task = std::move(task), done = std::move(done)] {
      RunGuarded("background", [&] { done(engine::CatchExceptions(task)); });
      ReleaseTask();
    }).detach();
  };
  absl::Status started = engine::CatchExceptions(start);
  if (!started.ok()) ReleaseTask();
  return started;
}

}  // namespace whipsnake::server
