// Threads that compile structured outputs, so that gRPC's own threads never do.
#ifndef WHIPSNAKE_SERVER_RPC_COMPILE_POOL_H_
#define WHIPSNAKE_SERVER_RPC_COMPILE_POOL_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/mutex.h"

namespace whipsnake::server {

// A few threads of low priority, and a bounded queue before them. Thread-safe.
class CompilePool {
 public:
  CompilePool(int threads, size_t max_waiting);
  // Runs what was accepted before.
  ~CompilePool();

  // Runs the task soon, on a thread of the pool. RESOURCE_EXHAUSTED, the task not run, when too
  // many wait, or when a quarter of what may wait is this client's. An exception ends the task
  // alone: what waits for it is the task's to tell.
  absl::Status Run(const std::string& client, std::function<void()> task);

 private:
  struct Task {
    std::string client;
    std::function<void()> run;
  };

  void Loop();

  const size_t max_waiting_;
  engine::Mutex mutex_;
  engine::CondVar wake_;
  std::deque<Task> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_COMPILE_POOL_H_
