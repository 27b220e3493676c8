// Threads for what takes long, so that gRPC's own threads never do.
#ifndef WHIPSNAKE_SERVER_RPC_BACKGROUND_H_
#define WHIPSNAKE_SERVER_RPC_BACKGROUND_H_

#include <functional>
#include <thread>

#include "absl/status/status.h"
#include "engine/base/mutex.h"

namespace whipsnake::server {

// Runs each task on a thread of its own, a bounded number at a time. Thread-safe.
class Background {
 public:
  explicit Background(int max_tasks) : max_tasks_(max_tasks) {}
  // Waits for all tasks.
  ~Background();

  // RESOURCE_EXHAUSTED, the task not run, when there are too many.
  absl::Status Run(std::function<void()> task);

 private:
  const int max_tasks_;
  engine::Mutex mutex_;
  engine::CondVar idle_;
  int tasks_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_BACKGROUND_H_
