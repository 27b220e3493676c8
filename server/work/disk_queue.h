// A queue of work with files, and the thread that does it.
#ifndef WHIPSNAKE_SERVER_WORK_DISK_QUEUE_H_
#define WHIPSNAKE_SERVER_WORK_DISK_QUEUE_H_

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "engine/base/mutex.h"

namespace whipsnake::server {

// Runs tasks in the order of Push, one at a time. A task with a client is refused once the queue is
// closed; a task without one always runs. Thread-safe. No function is called, and no task is
// destroyed, with the queue's lock held, so tasks may take any lock.
class DiskQueue {
 public:
  struct Task {
    std::optional<std::string> client;     // whose share of the queue it takes; none: it takes none
    std::function<void(bool refuse)> run;  // does the work, or reports that the server drains
  };

  // The most tasks with a client that wait, in all and of one client. Each costs a disk some
  // milliseconds, so the last one waits a second or so.
  static constexpr size_t kMaxWaiting = 256;
  static constexpr size_t kMaxWaitingOfClient = kMaxWaiting / 4;

  // `maintain` is called on the queue's thread before each task, and once a `period` while none
  // waits. It may call Push. Everything that it uses must outlive the queue. `name` is the thread's
  // in the log.
  DiskQueue(std::function<void()> maintain, std::chrono::milliseconds period,
            std::string_view name = "states");
  // Runs all tasks.
  ~DiskQueue();
  DiskQueue(const DiskQueue&) = delete;
  DiskQueue& operator=(const DiskQueue&) = delete;

  // Returns RESOURCE_EXHAUSTED if too many tasks wait, in all or of this client. Push does not
  // check, so concurrent callers may each be admitted.
  absl::Status CheckRoom(const std::string& client) const;
  // Moves the only element of `task` into the queue. Does not throw.
  void Push(std::list<Task>& task);
  // Refuses tasks with a client from here on. Those that wait are refused on this thread.
  void Close();
  bool closed() const;
  // Returns when all tasks pushed before have run; for tests.
  void Flush();

 private:
  void WorkLoop();
  // Runs the next task, or waits for one. Returns false once stopping and no task is left.
  bool RunNext();

  const std::function<void()> maintain_;
  const std::chrono::milliseconds period_;
  const std::string_view name_;
  mutable engine::Mutex mutex_;
  engine::CondVar wake_;
  std::list<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread worker_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_WORK_DISK_QUEUE_H_
