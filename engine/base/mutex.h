// A mutex that clang's thread-safety analysis understands.
//
// Each class is a thin wrapper around its counterpart in the standard library. A member protected
// by a mutex is declared ABSL_GUARDED_BY(mutex_), and a function that must be called with the mutex
// held is declared ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_). clang then rejects code that breaks
// either rule (-Wthread-safety, in the `fuzz` preset). The wrapper uses std::mutex rather than
// absl::Mutex because ThreadSanitizer intercepts std::mutex, while Debian builds Abseil without
// instrumentation.
#ifndef WHIPSNAKE_ENGINE_BASE_MUTEX_H_
#define WHIPSNAKE_ENGINE_BASE_MUTEX_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"

namespace whipsnake::engine {

class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) { return mutex_.try_lock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

// Holds a mutex from its construction to its destruction, except between Unlock and Lock.
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_.Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() {
    if (held_) mutex_.Unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void Unlock() ABSL_UNLOCK_FUNCTION() {
    held_ = false;
    mutex_.Unlock();
  }
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    mutex_.Lock();
    held_ = true;
  }

 private:
  Mutex& mutex_;
  bool held_ = true;
};

// A wait may end without a notification, so wait in a loop over the condition:
//   while (!ready_) changed_.Wait(mutex_);
// There is no overload with a predicate, because the analysis does not cover lambdas.
class CondVar {
 public:
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

  void Wait(Mutex& mutex) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const Adopted lock(mutex.mutex_);
    condition_.wait(lock.get());
  }
  // Returns false if the deadline has passed. Uses the deadline's clock.
  template <typename TimePoint>
  bool WaitUntil(Mutex& mutex, const TimePoint& deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const Adopted lock(mutex.mutex_);
    return condition_.wait_until(lock.get(), deadline) == std::cv_status::no_timeout;
  }

 private:
  // The caller's lock in the form that std::condition_variable takes. The mutex is held before and
  // after.
  class Adopted {
   public:
    explicit Adopted(std::mutex& mutex) : lock_(mutex, std::adopt_lock) {}
    ~Adopted() { lock_.release(); }
    std::unique_lock<std::mutex>& get() const { return lock_; }

   private:
    mutable std::unique_lock<std::mutex> lock_;
  };

  std::condition_variable condition_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_MUTEX_H_
