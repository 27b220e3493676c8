// Threads for what takes long, so that gRPC's own threads never do.
#ifndef WHIPSNAKE_SERVER_RPC_BACKGROUND_H_
#define WHIPSNAKE_SERVER_RPC_BACKGROUND_H_

#include <functional>

#include "absl/status/status.h"
#include "engine/base/mutex.h"

namespace whipsnake::server {

// Runs each task on a thread of its own, a bounded number at a time. Thread-safe.
class Background {
 public:
  explicit Background(int max_tasks) : max_tasks_(max_tasks) {}
  // Waits for all tasks.
  ~Background();

  // Tells `done` on the task's thread what the task returns, or what an exception that it throws
  // is as a status. RESOURCE_EXHAUSTED, the task not run and nobody told, when there are too many
  // or no thread is to be had.
  absl::Status Run(std::function<absl::Status()> task, std::function<void(absl::Status)> done);

 private:
  absl::Status Enter();
  void Leave();

  const int max_tasks_;
  engine::Mutex mutex_;
  engine::CondVar idle_;
  int tasks_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_BACKGROUND_H_
