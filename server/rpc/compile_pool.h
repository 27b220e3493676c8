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

// A few low-priority threads with a bounded queue. Thread-safe.
class CompilePool {
 public:
  CompilePool(int threads, size_t max_waiting);
  // Runs all accepted tasks first.
  ~CompilePool();

  // Queues the task to run on a thread of the pool. Returns RESOURCE_EXHAUSTED, with the task not
  // run, if too many tasks wait, or if a quarter of the allowed waiting tasks belong to this
  // client. An exception ends only the task, which must itself report the error to its caller.
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
