// Threads for tasks of requests, so that gRPC's own threads neither compute nor wait.
#ifndef WHIPSNAKE_SERVER_WORK_TASK_POOL_H_
#define WHIPSNAKE_SERVER_WORK_TASK_POOL_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/mutex.h"

namespace whipsnake::server {

// The texts must live as long as the pool.
struct TaskPoolOptions {
  std::string_view name;  // of the threads, in the log
  int threads = 1;
  size_t max_waiting = 64;
  bool low_priority = false;
  // Of a refusal: what the requests wait for ("to compile their structured output"), and
  // ErrorInfo.reason.
  std::string_view purpose = {};
  std::string_view full_reason = {};
};

// A few threads with a bounded queue. Thread-safe.
class TaskPool {
 public:
  explicit TaskPool(const TaskPoolOptions& options);
  // Runs all accepted tasks first.
  ~TaskPool();

  // Queues the task to run on a thread of the pool. Returns RESOURCE_EXHAUSTED, with the task not
  // run, if too many tasks wait, or if a quarter of the allowed waiting tasks belong to this
  // client. Clients take turns, each in the order of its own tasks. An exception ends only the
  // task, which must itself report the error to its caller.
  absl::Status Run(const std::string& client, std::function<void()> task);
  // Queues a part of a call that was accepted before. Never refused, and of no client's share, so
  // the caller must bound the number of such calls.
  void Continue(std::function<void()> task);

 private:
  struct Task {
    std::string client;  // "" for Continue
    int64_t round = 0;
    std::function<void()> run;
  };

  void Loop();
  void Insert(Task task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Refusal(std::string_view owner, size_t limit) const;

  const TaskPoolOptions options_;
  engine::Mutex mutex_;
  engine::CondVar wake_;
  // In the order of their rounds. In each round, every client that waits has one task.
  std::deque<Task> waiting_ ABSL_GUARDED_BY(mutex_);
  int64_t round_ ABSL_GUARDED_BY(mutex_) = 0;  // of the task that was started last
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_WORK_TASK_POOL_H_
