#include "server/rpc/compile_pool.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/thread_priority.h"
#include "server/errors.h"
#include "server/guarded.h"

namespace whipsnake::server {

using engine::MutexLock;

CompilePool::CompilePool(int threads, size_t max_waiting) : max_waiting_(max_waiting) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
}

CompilePool::~CompilePool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

absl::Status CompilePool::Run(const std::string& client, std::function<void()> task) {
  MutexLock lock(mutex_);
  const auto full = [](const char* owner, size_t limit) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat(
                          "too many requests", owner,
                          " are waiting to compile their structured output (limit ", limit, ")")),
                      "COMPILE_QUEUE_FULL");
  };
  if (waiting_.size() >= max_waiting_) return full("", max_waiting_);
  const size_t own = std::ranges::count(waiting_, client, &Task::client);
  const size_t share = std::max<size_t>(max_waiting_ / 4, 1);
  if (own >= share) return full(" of this client", share);
  waiting_.push_back({client, std::move(task)});
  wake_.NotifyOne();
  return absl::OkStatus();
}

void CompilePool::Loop() {
  engine::LowerThreadPriority();
  while (true) {
    Task task;
    {
      MutexLock lock(mutex_);
      while (waiting_.empty() && !stopping_) wake_.Wait(mutex_);
      if (waiting_.empty()) return;
      task = std::move(waiting_.front());
      waiting_.pop_front();
    }
    RunGuarded("compile", task.run);
  }
}

}  // namespace whipsnake::server
