// The limits of a request, which change when the configuration is read again.
#ifndef WHIPSNAKE_SERVER_LIVE_LIMITS_H_
#define WHIPSNAKE_SERVER_LIVE_LIMITS_H_

#include "engine/base/mutex.h"
#include "engine/generate/generation_parameters.h"

namespace whipsnake::server {

// Thread-safe. A call that has begun keeps the limits that it got.
class LiveLimits {
 public:
  explicit LiveLimits(const engine::GenerationLimits& limits = {}) : limits_(limits) {}

  engine::GenerationLimits Get() const {
    engine::MutexLock lock(mutex_);
    return limits_;
  }
  void Set(const engine::GenerationLimits& limits) {
    engine::MutexLock lock(mutex_);
    limits_ = limits;
  }

 private:
  mutable engine::Mutex mutex_;
  engine::GenerationLimits limits_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_LIVE_LIMITS_H_
