#include "engine/base/training_share.h"

#include <algorithm>
#include <utility>

namespace whipsnake::engine {
namespace {

TrainingShare::Duration Part(double part, TrainingShare::Duration time) {
  return TrainingShare::Duration(static_cast<int64_t>(part * static_cast<double>(time.count())));
}

}  // namespace

void TrainingShare::Charge(Work work, bool training_has_work, Time now) {
  const Duration elapsed = now - std::exchange(charged_, now);
  switch (work) {
    case Work::kServing:
      serving_.fetch_add(elapsed.count(), std::memory_order_relaxed);
      Activate();
      if (training_has_work) Add(Part(share_, elapsed));
      serving_until_ = now + kGrace;
      return;
    case Work::kTraining:
      training_.fetch_add(elapsed.count(), std::memory_order_relaxed);
      if (active_) Add(-Part(1 - share_, elapsed));
      return;
    case Work::kNone:  // in the grace training waits for serving, which is charged for it
      if (active_ && training_has_work) Add(Part(share_, elapsed));
      if (elapsed >= kGrace) active_ = false;
  }
}

bool TrainingShare::TrainingHasTurn(bool serving_waits, Time now) {
  if (serving_waits) {
    Activate();
  } else if (now >= serving_until_) {
    active_ = false;
  }
  return !active_ || balance_ >= Duration(0);
}

void TrainingShare::Activate() {
  if (std::exchange(active_, true)) return;
  balance_ = -Part(1 - share_, kTrainingUnit);
}

void TrainingShare::Add(Duration balance) {
  balance_ = std::clamp(balance_ + balance, -kMaxBalance, kMaxBalance);
}

}  // namespace whipsnake::engine
