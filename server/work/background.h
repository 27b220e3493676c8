// Threads for long-running tasks, so that gRPC's own threads never run them.
#ifndef WHIPSNAKE_SERVER_WORK_BACKGROUND_H_
#define WHIPSNAKE_SERVER_WORK_BACKGROUND_H_

#include <functional>

#include "absl/status/status.h"
#include "engine/base/mutex.h"

namespace whipsnake::server {

// Runs each task on its own thread, a bounded number at a time. Thread-safe.
class Background {
 public:
  explicit Background(int max_tasks) : max_tasks_(max_tasks) {}
  // Waits for all tasks.
  ~Background();

  // Runs `task` and then calls `done` on the task's thread with its status, or with the status of
  // an exception that it throws. An exception of `done` is only logged: if it ends a call, it must
  // do so whatever happens (see MakeEnd). Returns RESOURCE_EXHAUSTED, with neither called, if too
  // many tasks run or no thread can be created.
  absl::Status Run(std::function<absl::Status()> task, std::function<void(absl::Status)> done);

 private:
  absl::Status ReserveTask();
  void ReleaseTask();

  const int max_tasks_;
  engine::Mutex mutex_;
  engine::CondVar idle_;
  int tasks_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_WORK_BACKGROUND_H_
