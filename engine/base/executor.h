// The single compute executor of the process.
//
// Operations need a context (kernels/context.h), and the executor owns the only one with a team. If
// two threads computed at once, there would be twice as many workers as CPUs, so all computation is
// submitted here and runs, one unit at a time, on one thread with that context.
#ifndef WHIPSNAKE_ENGINE_BASE_EXECUTOR_H_
#define WHIPSNAKE_ENGINE_BASE_EXECUTOR_H_

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/mutex.h"
#include "engine/base/shared_reservation.h"
#include "kernels/context.h"

namespace whipsnake::engine {

// From most to least urgent.
enum class Priority { kDecode, kPrefill, kTraining };
inline constexpr int kPriorityCount = 3;

// Thread-safe.
class Executor {
 public:
  // A piece of computation. The context is valid until the unit returns.
  using Unit = std::function<void(const kernels::Context& context)>;

  // The size of the team, including the executor's own thread. Values below 1 count as 1.
  explicit Executor(int threads);
  // Runs the units that are already submitted, then stops.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Runs `unit` on the compute thread and returns when it is done. Units of the same priority run
  // in order of submission. A call from inside a unit, but not from a
  // share of a team, runs `unit` immediately on the same thread.
  // An exception that the unit throws, such as std::bad_alloc from a kernel, is rethrown here.
  void Run(Priority priority, const Unit& unit);

  // Like Run, but returns ABORTED if the unit throws a std::exception and so is only partly done.
  absl::Status TryRun(Priority priority, const Unit& unit);

  // Called from inside a unit at a point where it can be interrupted (between the layers of a
  // model): runs the waiting units that are strictly more urgent than the caller's, then returns.
  // Does nothing outside a unit.
  void Yield();

  // Reserves `bytes` in `ledger` for the scratch memory that kernels keep in the workspace between
  // calls. Models share that memory, so it is counted once: the reservation is the largest
  // `bytes` of all handles that are still alive. Returns RESOURCE_EXHAUSTED if the ledger refuses.
  // The ledger must outlive the returned handle.
  absl::StatusOr<std::shared_ptr<const void>> ReserveScratch(Ledger& ledger, int64_t bytes);

  int threads() const { return threads_; }
  // The number of units waiting to run.
  int waiting() const;

 private:
  struct Task;
  void Loop();
  bool InsideUnit() const;
  // Removes and returns the most urgent waiting task with a priority before `end`, or returns null.
  Task* PopMoreUrgentThan(int end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Execute(Task& task);

  const int threads_;
  mutable Mutex mutex_;
  CondVar wake_;
  std::array<std::deque<Task*>, kPriorityCount> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Used only by the compute thread.
  int running_priority_ = kPriorityCount;
  kernels::Context context_;
  const std::shared_ptr<SharedReservation> scratch_;
  std::thread thread_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_EXECUTOR_H_
