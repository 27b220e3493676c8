#include "server/work/task_pool.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/base/thread_priority.h"
#include "server/errors.h"
#include "server/guarded.h"

namespace whipsnake::server {

using engine::MutexLock;

TaskPool::TaskPool(const TaskPoolOptions& options) : options_(options) {
  for (int i = 0; i < options.threads; ++i) threads_.emplace_back([this] { Loop(); });
}

TaskPool::~TaskPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

absl::Status TaskPool::Refusal(std::string_view owner, size_t limit) const {
  return WithReason(absl::ResourceExhaustedError(
                        absl::StrCat("too many requests", engine::ToAbsl(owner), " are waiting ",
                                     engine::ToAbsl(options_.purpose), " (limit ", limit, ")")),
                    options_.full_reason);
}

absl::Status TaskPool::Run(const std::string& client, std::function<void()> task) {
  MutexLock lock(mutex_);
  if (waiting_.size() >= options_.max_waiting) return Refusal("", options_.max_waiting);
  const size_t own = std::ranges::count(waiting_, client, &Task::client);
  const size_t share = std::max<size_t>(options_.max_waiting / 4, 1);
  if (own >= share) return Refusal(" of this client", share);
  int64_t round = round_;
  for (const Task& other : waiting_) {
    if (other.client == client) round = std::max(round, other.round + 1);
  }
  Insert({client, round, std::move(task)});
  return absl::OkStatus();
}

void TaskPool::Continue(std::function<void()> task) {
  MutexLock lock(mutex_);
  Insert({"", round_, std::move(task)});
}

void TaskPool::Insert(Task task) {
  const auto later = std::ranges::upper_bound(waiting_, task.round, {}, &Task::round);
  waiting_.insert(later, std::move(task));
  wake_.NotifyOne();
}

void TaskPool::Loop() {
  if (options_.low_priority) engine::LowerThreadPriority();
  while (true) {
    Task task;
    {
      MutexLock lock(mutex_);
      while (waiting_.empty() && !stopping_) wake_.Wait(mutex_);
      if (waiting_.empty()) return;
      task = std::move(waiting_.front());
      waiting_.pop_front();
      round_ = task.round;
    }
    RunGuarded(options_.name, task.run);
  }
}

}  // namespace whipsnake::server
