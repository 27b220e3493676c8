// A clock of the executor that only a test moves.
#ifndef WHIPSNAKE_TESTS_ENGINE_BASE_FAKE_EXECUTOR_CLOCK_H_
#define WHIPSNAKE_TESTS_ENGINE_BASE_FAKE_EXECUTOR_CLOCK_H_

#include "engine/base/executor.h"

namespace whipsnake::engine {

// Thread-safe.
class FakeExecutorClock : public ExecutorClock {
 public:
  using Duration = TrainingShare::Duration;

  Time Now() override {
    MutexLock lock(mutex_);
    return now_;
  }

  void WaitUntil(CondVar& changed, Mutex& mutex, Time deadline) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    {
      MutexLock lock(mutex_);
      if (now_ >= deadline) return;
      waiter_ = {&changed, &mutex};
      waits_.NotifyAll();
    }
    changed.Wait(mutex);
    MutexLock lock(mutex_);
    waiter_ = {};
  }

  void Advance(Duration time) {
    Waiter waiter;
    {
      MutexLock lock(mutex_);
      now_ += time;
      waiter = waiter_;
    }
    if (waiter.changed == nullptr) return;
    MutexLock lock(*waiter.mutex);  // the waiter has released it: it waits
    waiter.changed->NotifyAll();
  }

  // Returns when the executor waits for the time to pass.
  void AwaitWaiter() {
    MutexLock lock(mutex_);
    while (waiter_.changed == nullptr) waits_.Wait(mutex_);
  }

 private:
  struct Waiter {
    CondVar* changed = nullptr;
    Mutex* mutex = nullptr;
  };

  Mutex mutex_;
  CondVar waits_;
  Time now_ ABSL_GUARDED_BY(mutex_);
  Waiter waiter_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_BASE_FAKE_EXECUTOR_CLOCK_H_
