#include "engine/base/executor.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "engine/base/status.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/cpu/workspace.h"

namespace whipsnake::engine {

namespace {

constexpr int kTraining = static_cast<int>(Priority::kTraining);
constexpr const char* kScratch = "what kernels keep between calls";

class SteadyClock : public ExecutorClock {
 public:
  Time Now() override { return std::chrono::steady_clock::now(); }
  void WaitUntil(CondVar& changed, Mutex& mutex, Time deadline) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    changed.WaitUntil(mutex, deadline);
  }
};

}  // namespace

ExecutorClock& ExecutorClock::Steady() {
  static SteadyClock clock;
  return clock;
}

struct Executor::Task {
  int priority = 0;
  const Unit* unit = nullptr;
  std::exception_ptr thrown;
  bool done = false;  // guarded by the executor's mutex
  CondVar finished;
};

Executor::Executor(int threads, const ExecutorOptions& options)
    : threads_(std::max(threads, 1)),
      clock_(*options.clock),
      share_(options.training_share, clock_.Now()),
      pauses_{[this] { Yield(); }, static_cast<double>(options.training_piece.count())},
      serving_scratch_(SharedReservation::Make(Purpose::kWorkspace, kScratch)),
      training_scratch_(SharedReservation::Make(Purpose::kWorkspace, kScratch)),
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
  if (InsideUnit()) {
    return unit(running_priority_ == kTraining ? training_context_ : serving_context_);
  }
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
  const bool trains = running_priority_ == kTraining;
  bool interrupted = false;
  while (true) {
    Task* task;
    {
      MutexLock lock(mutex_);
      task = trains ? PopBeforeTraining() : PopMoreUrgentThan(running_priority_);
    }
    if (task == nullptr) return;
    if (trains && !std::exchange(interrupted, true)) ++interruptions_;
    Execute(*task);
  }
}

absl::StatusOr<std::shared_ptr<const void>> Executor::ReserveScratch(Priority priority,
                                                                     Ledger& ledger,
                                                                     int64_t bytes) {
  return (priority == Priority::kTraining ? training_scratch_ : serving_scratch_)
      ->Book(ledger, bytes);
}

int Executor::waiting() const {
  MutexLock lock(mutex_);
  int count = 0;
  for (const auto& queue : waiting_) count += static_cast<int>(queue.size());
  return count;
}

void Executor::Loop() {
  const kernels::CpuContext cpu(threads_);
  // What an operation of training keeps while it pauses is not overwritten by serving.
  kernels::Workspace workspace;
  serving_context_ = training_context_ = cpu.context();
  training_context_.workspace = &workspace;
  training_context_.pauses = &pauses_;
  while (true) {
    Task* task = nullptr;
    {
      MutexLock lock(mutex_);
      task = PopNext();
    }
    if (task == nullptr) return;
    Execute(*task);
  }
}

TrainingShare::Time Executor::Charge(TrainingShare::Work work) {
  const TrainingShare::Time now = clock_.Now();
  share_.Charge(work, training_begun_ || !waiting_[kTraining].empty(), now);
  return now;
}

TrainingShare::Work Executor::RunningWork() const {
  if (running_priority_ == kPriorityCount) return TrainingShare::Work::kNone;
  return running_priority_ == kTraining ? TrainingShare::Work::kTraining
                                        : TrainingShare::Work::kServing;
}

bool Executor::InsideUnit() const { return std::this_thread::get_id() == thread_.get_id(); }

Executor::Task* Executor::Pop(std::deque<Task*>& queue) {
  Task* const task = queue.front();
  queue.pop_front();
  return task;
}

Executor::Task* Executor::PopMoreUrgentThan(int end) {
  for (int priority = 0; priority < end; ++priority) {
    if (!waiting_[priority].empty()) return Pop(waiting_[priority]);
  }
  return nullptr;
}

Executor::Task* Executor::PopBeforeTraining() {
  TrainingShare::Time now = Charge(RunningWork());
  while (true) {
    const bool serving_waits = !std::all_of(waiting_.begin(), waiting_.begin() + kTraining,
                                            [](const auto& queue) { return queue.empty(); });
    if (share_.TrainingHasTurn(serving_waits, now)) return nullptr;
    if (serving_waits) return PopMoreUrgentThan(kTraining);
    if (stopping_) return nullptr;
    clock_.WaitUntil(wake_, mutex_, share_.serving_until());
    now = Charge(TrainingShare::Work::kNone);
  }
}

Executor::Task* Executor::PopNext() {
  while (true) {
    if (!waiting_[kTraining].empty()) {
      Task* const serving = PopBeforeTraining();
      return serving != nullptr ? serving : Pop(waiting_[kTraining]);
    }
    if (Task* const task = PopMoreUrgentThan(kTraining)) return task;
    if (stopping_) return nullptr;
    wake_.Wait(mutex_);
  }
}

void Executor::Execute(Task& task) {
  {
    MutexLock lock(mutex_);
    Charge(RunningWork());
  }
  const int interrupted = std::exchange(running_priority_, task.priority);
  const bool trains = task.priority == kTraining;
  if (trains) training_begun_ = true;
  try {
    (*task.unit)(trains ? training_context_ : serving_context_);
  } catch (...) {  // rethrown by Run(); escaping here would end the process
    task.thrown = std::current_exception();
  }
  // The task lives on the waiting thread's stack and may be gone once the lock is released.
  MutexLock lock(mutex_);
  Charge(RunningWork());
  running_priority_ = interrupted;
  if (trains) training_begun_ = false;
  task.done = true;
  task.finished.NotifyOne();
}

}  // namespace whipsnake::engine
