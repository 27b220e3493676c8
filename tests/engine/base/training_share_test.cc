#include "engine/base/training_share.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace whipsnake::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Duration = TrainingShare::Duration;
using Time = TrainingShare::Time;
using Work = TrainingShare::Work;

constexpr double kShares[] = {0.05, 0.2, 0.5, 0.9, 1};
constexpr Duration kNothing{0};

// An executor whose units are only durations.
struct Simulation {
  explicit Simulation(double share) : account(share, now) {}

  void Run(Work work, Duration time, bool training_has_work = true) {
    now += time;
    account.Charge(work, training_has_work, now);
  }
  // Takes turns for `time` while both have work. Returns the longest time that serving waited.
  template <typename UnitOf>
  Duration Compete(Duration time, const UnitOf& unit_of) {
    Duration waited{0}, longest{0};
    for (const Time end = now + time; now < end;) {
      const Work work =
          account.TrainingHasTurn(/*serving_waits=*/true, now) ? Work::kTraining : Work::kServing;
      const Duration unit = unit_of(work);
      waited = work == Work::kTraining ? waited + unit : kNothing;
      longest = std::max(longest, waited);
      Run(work, unit);
    }
    return longest;
  }

  Time now;
  TrainingShare account;
};

TEST(TrainingShareTest, TrainingGetsItsShareOfTheTimeWhileServingHasWork) {
  std::mt19937 random(1);
  for (const double share : kShares) {
    Simulation run(share);
    // Units of serving whose credit is within the bound, up to that of a default share.
    const double longest = share == 1 ? 20 : std::min(40.0, 20 * (1 - share) / share);
    run.Compete(seconds(20), [&](Work work) {
      const double limit = work == Work::kServing ? longest : 2;
      return std::chrono::microseconds(1 + random() % static_cast<int>(1000 * limit));
    });
    const double of_all = static_cast<double>(run.account.training().count()) /
                          static_cast<double>((run.now - Time()).count());
    EXPECT_NEAR(of_all, share, 0.003) << share;
    EXPECT_EQ(run.account.training() + run.account.serving(), run.now - Time());
  }
}

TEST(TrainingShareTest, WithoutServingTrainingHasTheTurn) {
  for (const double share : kShares) {
    Simulation run(share);
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(run.account.TrainingHasTurn(/*serving_waits=*/false, run.now)) << share;
      run.Run(Work::kTraining, milliseconds(2));
    }
    EXPECT_EQ(run.account.serving(), kNothing);
  }
}

TEST(TrainingShareTest, WhatTrainingComputesWhileServingIsIdleIsNotCharged) {
  Simulation run(0.2);
  run.account.TrainingHasTurn(false, run.now);
  run.Run(Work::kTraining, seconds(100));
  EXPECT_FALSE(run.account.TrainingHasTurn(/*serving_waits=*/true, run.now));
  run.Run(Work::kServing, milliseconds(8));  // pays for a unit of 2 ms
  EXPECT_TRUE(run.account.TrainingHasTurn(/*serving_waits=*/true, run.now));
}

TEST(TrainingShareTest, NothingIsSavedUpWhileServingIsIdle) {
  for (const bool training_waited : {false, true}) {
    Simulation run(0.2);
    run.Run(Work::kServing, seconds(10));
    run.Run(Work::kNone, seconds(10));
    if (training_waited) {
      EXPECT_TRUE(run.account.TrainingHasTurn(false, run.now));
    }
    EXPECT_FALSE(run.account.TrainingHasTurn(/*serving_waits=*/true, run.now));
  }
}

TEST(TrainingShareTest, NothingIsSavedUpWhileTrainingHasNoWork) {
  Simulation run(0.2);
  run.Run(Work::kServing, seconds(10), /*training_has_work=*/false);
  EXPECT_FALSE(run.account.TrainingHasTurn(/*serving_waits=*/true, run.now));
  run.Run(Work::kServing, milliseconds(8));  // pays for a unit of 2 ms
  EXPECT_TRUE(run.account.TrainingHasTurn(/*serving_waits=*/true, run.now));
}

// Between two units of training serving may get the turn without being asked whose it is.
TEST(TrainingShareTest, DebtsOutliveTheEndOfAUnit) {
  Simulation run(0.2);
  run.Run(Work::kServing, milliseconds(1));
  run.Run(Work::kTraining, milliseconds(20));
  run.Run(Work::kNone, Duration(1000));
  run.Run(Work::kServing, milliseconds(8));
  EXPECT_FALSE(run.account.TrainingHasTurn(/*serving_waits=*/true, run.now));
}

TEST(TrainingShareTest, ServingWaitsForABoundedTimeAfterAnyBurst) {
  for (const double share : {0.05, 0.2, 0.5}) {
    Simulation run(share);
    run.Run(Work::kServing, seconds(100));
    const Duration waited = run.Compete(seconds(1), [](Work) { return milliseconds(2); });
    const auto bound =
        Duration(static_cast<int64_t>(TrainingShare::kMaxBalance.count() / (1 - share)));
    EXPECT_LE(waited, bound + milliseconds(2)) << share;
  }
}

TEST(TrainingShareTest, TrainingWaitsForABoundedTimeAfterALongUnit) {
  Simulation run(0.2);
  run.account.TrainingHasTurn(/*serving_waits=*/true, run.now);
  run.Run(Work::kTraining, seconds(100));
  const Time begin = run.now;
  while (!run.account.TrainingHasTurn(/*serving_waits=*/true, run.now)) {
    run.Run(Work::kServing, milliseconds(8));
  }
  EXPECT_LE(run.now - begin, TrainingShare::kMaxBalance * 5 + milliseconds(8));
}

// A stream: steps of 8 ms with gaps of 0.1 ms, in which no unit of serving waits.
TEST(TrainingShareTest, GapsOfAStreamDoNotGiveTrainingMore) {
  Simulation run(0.05);
  Duration trained{0};
  for (int step = 0; step < 1000; ++step) {
    run.Run(Work::kServing, milliseconds(8));
    const Time next = run.now + std::chrono::microseconds(100);
    while (run.account.TrainingHasTurn(/*serving_waits=*/run.now >= next, run.now)) {
      run.Run(Work::kTraining, milliseconds(2));
      trained += milliseconds(2);
    }
    if (run.now < next) run.Run(Work::kNone, next - run.now);
  }
  EXPECT_NEAR(
      static_cast<double>(trained.count()) / static_cast<double>((run.now - Time()).count()), 0.05,
      0.01);
}

TEST(TrainingShareTest, TheGraceEnds) {
  Simulation run(0.2);
  run.Run(Work::kServing, milliseconds(1));
  EXPECT_FALSE(run.account.TrainingHasTurn(/*serving_waits=*/false, run.now));
  EXPECT_EQ(run.account.serving_until(), run.now + TrainingShare::kGrace);
  run.Run(Work::kNone, TrainingShare::kGrace - Duration(1));
  EXPECT_FALSE(run.account.TrainingHasTurn(/*serving_waits=*/false, run.now));
  run.Run(Work::kNone, Duration(1));
  EXPECT_TRUE(run.account.TrainingHasTurn(/*serving_waits=*/false, run.now));
}

}  // namespace
}  // namespace whipsnake::engine
