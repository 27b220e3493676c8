// A clock of the executor that counts how often it is read.
#ifndef WHIPSNAKE_TESTS_ENGINE_BASE_TICKING_CLOCK_H_
#define WHIPSNAKE_TESTS_ENGINE_BASE_TICKING_CLOCK_H_

#include <algorithm>
#include <chrono>

#include "engine/base/executor.h"

namespace whipsnake::engine {

// For training beside serving, where only the results matter. Each reading takes a tick, and a wait
// is over at once, so training waits for no other thread. With the real clock, a piece of training
// takes milliseconds on a busy machine, which serving must earn first: minutes for a few steps.
class TickingClock : public ExecutorClock {
 public:
  static constexpr std::chrono::microseconds kTick{100};

  // Called by the executor's thread only.
  Time Now() override { return now_ += kTick; }
  void WaitUntil(CondVar& /*changed*/, Mutex& /*mutex*/, Time deadline) override {
    now_ = std::max(now_, deadline);
  }

 private:
  Time now_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_BASE_TICKING_CLOCK_H_
