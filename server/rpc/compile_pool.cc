#include "server/rpc/compile_pool.h"

#include <string>
#include <utility>

#include "engine/base/thread_priority.h"
#include "server/errors.h"

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

absl::Status CompilePool::Run(std::function<void()> task) {
  MutexLock lock(mutex_);
  if (waiting_.size() >= max_waiting_) {
    return WithReason(absl::ResourceExhaustedError(
                          std::to_string(waiting_.size()) +
                          " requests wait for their structured output to be compiled, the most at "
                          "a time"),
                      "COMPILE_QUEUE_FULL");
  }
  waiting_.push_back(std::move(task));
  wake_.NotifyOne();
  return absl::OkStatus();
}

void CompilePool::Loop() {
  engine::LowerThreadPriority();
  while (true) {
    std::function<void()> task;
    {
      MutexLock lock(mutex_);
      while (waiting_.empty() && !stopping_) wake_.Wait(mutex_);
      if (waiting_.empty()) return;
      task = std::move(waiting_.front());
      waiting_.pop_front();
    }
    task();
  }
}

}  // namespace whipsnake::server
