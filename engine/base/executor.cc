#include "engine/base/executor.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "engine/base/status.h"
#include "kernels/cpu/cpu_context.h"

namespace whipsnake::engine {

struct Executor::Task {
  int priority = 0;
  const Unit* unit = nullptr;
  std::exception_ptr thrown;
  bool done = false;  // guarded by the executor's mutex
  CondVar finished;
};

Executor::Executor(int threads)
    : threads_(std::max(threads, 1)),
      scratch_(SharedReservation::Make(Purpose::kWorkspace, "what kernels keep between calls")),
      thread_([this] { Loop(); }) {}

Executor::~Executor() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyOne();
  thread_.join();
}

void Executor::Run(Priority priority, const Unit& unit) {
  if (InsideUnit()) return unit(context_);
  Task task;
  task.priority = static_cast<int>(priority);
  task.unit = &unit;
  MutexLock lock(mutex_);
  waiting_[task.priority].push_back(&task);
  wake_.NotifyOne();
  while (!task.done) task.finished.Wait(mutex_);
  if (task.thrown != nullptr) std::rethrow_exception(task.thrown);
}

absl::Status Executor::TryRun(Priority priority, const Unit& unit) {
  try {
    Run(priority, unit);
  } catch (const std::exception& error) {
    return absl::AbortedError(absl::StrCat("a computation ended early: ", error.what()));
  }
  return absl::OkStatus();
}

void Executor::Yield() {
  if (!InsideUnit()) return;
  while (true) {
    Task* task;
    {
      MutexLock lock(mutex_);
      task = PopMoreUrgentThan(running_priority_);
    }
    if (task == nullptr) return;
    Execute(*task);
  }
}

absl::StatusOr<std::shared_ptr<const void>> Executor::ReserveScratch(Ledger& ledger,
                                                                     int64_t bytes) {
  return scratch_->Book(ledger, bytes);
}

int Executor::waiting() const {
  MutexLock lock(mutex_);
  int count = 0;
  for (const auto& queue : waiting_) count += static_cast<int>(queue.size());
  return count;
}

void Executor::Loop() {
  const kernels::CpuContext cpu(threads_);
  context_ = cpu.context();
  while (true) {
    Task* task = nullptr;
    {
      MutexLock lock(mutex_);
      while ((task = PopMoreUrgentThan(kPriorityCount)) == nullptr && !stopping_)
        wake_.Wait(mutex_);
    }
    if (task == nullptr) return;
    Execute(*task);
  }
}

bool Executor::InsideUnit() const { return std::this_thread::get_id() == thread_.get_id(); }

Executor::Task* Executor::PopMoreUrgentThan(int end) {
  for (int priority = 0; priority < end; ++priority) {
    auto& queue = waiting_[priority];
    if (queue.empty()) continue;
    Task* task = queue.front();
    queue.pop_front();
    return task;
  }
  return nullptr;
}

void Executor::Execute(Task& task) {
  const int interrupted = std::exchange(running_priority_, task.priority);
  try {
    (*task.unit)(context_);
  } catch (...) {  // rethrown by Run(); escaping here would end the process
    task.thrown = std::current_exception();
  }
  running_priority_ = interrupted;
  // The task lives on the waiting thread's stack and may be gone once the lock is released.
  MutexLock lock(mutex_);
  task.done = true;
  task.finished.NotifyOne();
}

}  // namespace whipsnake::engine
