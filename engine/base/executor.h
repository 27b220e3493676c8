// The single compute executor of the process.
//
// Operations need a context (kernels/context.h), and the executor owns the only team. If two
// threads computed at once, there would be twice as many workers as CPUs, so all computation is
// submitted here and runs, one unit at a time, on one thread with that team.
//
// Decoding and prefill are serving; training, and what else computes in the background, such as
// quantization, gets a share of the time beside it (engine/base/training_share.h).
#ifndef WHIPSNAKE_ENGINE_BASE_EXECUTOR_H_
#define WHIPSNAKE_ENGINE_BASE_EXECUTOR_H_

#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/mutex.h"
#include "engine/base/shared_reservation.h"
#include "engine/base/training_share.h"
#include "kernels/context.h"

namespace whipsnake::engine {

// From most to least urgent.
enum class Priority { kDecode, kPrefill, kTraining };
inline constexpr int kPriorityCount = 3;

// The executor's time. Thread-safe.
class ExecutorClock {
 public:
  using Time = TrainingShare::Time;

  virtual ~ExecutorClock() = default;
  virtual Time Now() = 0;
  // Waits until `changed` is notified or the deadline has passed, or less.
  virtual void WaitUntil(CondVar& changed, Mutex& mutex, Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) = 0;

  // std::chrono::steady_clock.
  static ExecutorClock& Steady();
};

struct ExecutorOptions {
  // The part of the executor's time that training gets while serving has work, in (0,1]. Without
  // work of serving, training gets all of it at once.
  double training_share = kDefaultTrainingShare;
  // The computing time after which operations of training let serving in.
  std::chrono::nanoseconds training_piece = kTrainingUnit / 2;
  // Must outlive the executor.
  ExecutorClock* clock = &ExecutorClock::Steady();
};

// Thread-safe.
class Executor {
 public:
  // A piece of computation. The context is valid until the unit returns. That of training pauses
  // where Yield() is called for it, and its workspace is not serving's.
  using Unit = std::function<void(const kernels::Context& context)>;

  // The size of the team, including the executor's own thread. Values below 1 count as 1.
  explicit Executor(int threads, const ExecutorOptions& options = {});
  // Runs the units that are already submitted, then stops.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Runs `unit` on the compute thread and returns when it is done. Units of the same priority run
  // in order of submission, and whole: two jobs of training alternate by their units, so a job that
  // is cancelled ends after at most one unit of each. A call from inside a unit, but not from a
  // share of a team, runs `unit` immediately on the same thread, in the same context.
  // An exception that the unit throws, such as std::bad_alloc from a kernel, is rethrown here.
  void Run(Priority priority, const Unit& unit);

  // Like Run, but returns ABORTED if the unit throws a std::exception and so is only partly done.
  absl::Status TryRun(Priority priority, const Unit& unit);

  // Called from inside a unit at a point where it can be interrupted: between the layers of a
  // model, or after some 2 ms of training. A unit of serving lets the waiting units run that are
  // strictly more urgent. A unit of training lets units of serving run, and waits for those that
  // are to come, until training has its share. Does nothing outside a unit.
  void Yield();

  // Reserves `bytes` in `ledger` for the scratch memory that kernels keep in the workspace between
  // calls, for units of a priority. Models share the memory, so it is counted once for serving and
  // once for training: the reservation is the largest `bytes` of all handles that are still alive.
  // Returns RESOURCE_EXHAUSTED if the ledger refuses. The ledger must outlive the returned handle.
  absl::StatusOr<std::shared_ptr<const void>> ReserveScratch(Priority priority, Ledger& ledger,
                                                             int64_t bytes);

  int threads() const { return threads_; }
  // The number of units waiting to run.
  int waiting() const;
  // How often units of training have let units of serving run.
  int64_t interruptions() const { return interruptions_.load(std::memory_order_relaxed); }
  // The time computed so far for serving and for training, up to the last point at which a unit
  // could be interrupted.
  std::chrono::nanoseconds serving_time() const { return share_.serving(); }
  std::chrono::nanoseconds training_time() const { return share_.training(); }

 private:
  struct Task;
  void Loop();
  bool InsideUnit() const;
  // Books the time since the last call as time of `work`. Returns the time.
  TrainingShare::Time Charge(TrainingShare::Work work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What the unit does that runs.
  TrainingShare::Work RunningWork() const;
  static Task* Pop(std::deque<Task*>& queue);
  // Removes and returns the most urgent waiting task with a priority before `end`, or returns null.
  Task* PopMoreUrgentThan(int end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // For training that has work: removes and returns the task of serving that comes before it, or
  // returns null if training has the turn. Waits while neither does.
  Task* PopBeforeTraining() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Removes and returns the next task; waits for it. Returns null to stop.
  Task* PopNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Execute(Task& task);

  const int threads_;
  ExecutorClock& clock_;
  mutable Mutex mutex_;
  CondVar wake_;
  std::array<std::deque<Task*>, kPriorityCount> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Used only by the compute thread, but for the counters of share_.
  TrainingShare share_;
  int running_priority_ = kPriorityCount;
  std::atomic<int64_t> interruptions_ = 0;
  bool training_begun_ = false;  // whether a unit of training runs or is interrupted
  kernels::Context serving_context_, training_context_;
  const kernels::Pauses pauses_;
  const std::shared_ptr<SharedReservation> serving_scratch_, training_scratch_;
  std::thread thread_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_EXECUTOR_H_
