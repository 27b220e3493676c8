// The account by which training gets its share of the compute executor.
//
// While serving has work, each second of serving is worth `share` seconds to training, and each
// second of training costs 1 - share; training has the turn while its balance is not negative. Over
// time its part of the executor is then `share`. The balance is bounded, does not grow while
// training has no work, and is forgotten when serving is idle, so that neither saves up time to
// block the other with.
//
// Serving has work while one of its units waits or runs, and for a short grace after that: a stream
// submits its next step some tenths of a millisecond after the last one, and without the grace
// training would get a unit of its own in each of these gaps, whatever its share.
#ifndef WHIPSNAKE_ENGINE_BASE_TRAINING_SHARE_H_
#define WHIPSNAKE_ENGINE_BASE_TRAINING_SHARE_H_

#include <atomic>
#include <chrono>
#include <cstdint>

namespace whipsnake::engine {

// The share of a daemon that is not told another.
inline constexpr double kDefaultTrainingShare = 0.2;

// About the computing time between two points at which training lets serving in.
inline constexpr std::chrono::nanoseconds kTrainingUnit = std::chrono::milliseconds(2);

// Used by one thread; the counters may be read by any.
class TrainingShare {
 public:
  using Duration = std::chrono::nanoseconds;
  using Time = std::chrono::time_point<std::chrono::steady_clock, Duration>;

  static constexpr Duration kGrace = std::chrono::milliseconds(3);
  // Bounds the balance on both sides. Serving waits at most kMaxBalance / (1 - share) for training
  // with the turn, and what a unit of serving of more than kMaxBalance / share earns is cut.
  static constexpr Duration kMaxBalance = std::chrono::milliseconds(20);

  enum class Work { kNone, kServing, kTraining };

  // `share` is in (0,1]. With 1, serving computes only when training has no work.
  TrainingShare(double share, Time now) : share_(share), charged_(now), serving_until_(now) {}

  // Books the time since the last call as time of `work`; kNone is time in which nothing computed.
  // `training_has_work` tells whether a unit of training waits now or is interrupted.
  void Charge(Work work, bool training_has_work, Time now);

  // Whether training, which has work, has the turn. If not, serving has it: if nothing of serving
  // waits, until serving_until(). Called after Charge(), with the same time.
  bool TrainingHasTurn(bool serving_waits, Time now);

  // The end of the grace.
  Time serving_until() const { return serving_until_; }

  // The time computed so far.
  Duration serving() const { return Duration(serving_.load(std::memory_order_relaxed)); }
  Duration training() const { return Duration(training_.load(std::memory_order_relaxed)); }

 private:
  // Begins a period in which serving has work. It begins with serving's turn, as after a unit of
  // training.
  void Activate();
  void Add(Duration balance);

  const double share_;
  Time charged_;         // up to here time has been charged
  Time serving_until_;   // the end of the grace
  bool active_ = false;  // whether serving has work
  Duration balance_{0};  // of training
  std::atomic<int64_t> serving_{0}, training_{0};
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_TRAINING_SHARE_H_
