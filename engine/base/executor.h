// The one compute executor of the process.
//
// A kernel shares its work out to the team of the thread that calls it. Two threads that computed
// at once would have twice as many workers as CPUs, so everything that computes is submitted here
// and runs, one unit at a time, on the thread that owns the one team.
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

namespace whipsnake::engine {

// In falling order of urgency.
enum class Priority { kDecode, kPrefill, kTraining };
inline constexpr int kPriorityCount = 3;

// Thread-safe.
class Executor {
 public:
  // threads >= 1: the size of the team, the executor's own thread included.
  explicit Executor(int threads);
  // Runs what was submitted before, then stops.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Runs `unit` on the compute thread and returns when it is done. Units of one priority run in the
  // order of submission. A call from inside a unit runs at once, on the spot. What the unit throws,
  // as std::bad_alloc where a kernel finds no memory, is thrown here.
  void Run(Priority priority, const std::function<void()>& unit);

  // The same, but ABORTED where the unit throws: it has been done in part.
  absl::Status TryRun(Priority priority, const std::function<void()>& unit);

  // Called from inside a unit at a point where it can be interrupted (between the layers of a
  // model): runs the waiting units that are strictly more urgent than the caller's, then returns.
  // Elsewhere it does nothing.
  void Yield();

  // Books `bytes` for what kernels keep on the team's threads from call to call. Models share that
  // memory, so it is counted once: as much as the largest of those asks for who keep what this
  // returns. RESOURCE_EXHAUSTED when the ledger refuses. The ledger outlives what is returned.
  absl::StatusOr<std::shared_ptr<const void>> BookScratch(Ledger& ledger, int64_t bytes);

  int threads() const { return threads_; }
  // Units that wait for their turn.
  int waiting() const;

 private:
  struct Task;
  void Loop();
  bool InsideUnit() const;
  // The most urgent waiting task with a priority before `end`, or null.
  Task* PopBefore(int end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Execute(Task& task);

  const int threads_;
  mutable Mutex mutex_;
  CondVar wake_;
  std::array<std::deque<Task*>, kPriorityCount> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int running_priority_ = kPriorityCount;  // touched by the compute thread alone
  const std::shared_ptr<SharedReservation> scratch_;
  std::thread thread_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_EXECUTOR_H_
