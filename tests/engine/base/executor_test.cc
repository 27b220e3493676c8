#include "engine/base/executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <iterator>
#include <latch>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "tests/engine/base/fake_executor_clock.h"

namespace whipsnake::engine {
namespace {

using kernels::Context;

TEST(ExecutorTest, RunsUnitsOnOneThreadThatIsNotTheCallers) {
  Executor executor(2);
  std::thread::id first, second;
  executor.Run(Priority::kDecode, [&](const Context&) { first = std::this_thread::get_id(); });
  std::thread other([&] {
    executor.Run(Priority::kTraining, [&](const Context&) { second = std::this_thread::get_id(); });
  });
  other.join();
  EXPECT_EQ(first, second);
  EXPECT_NE(first, std::this_thread::get_id());
}

TEST(ExecutorTest, EveryUnitGetsTheOneContextWithTheTeam) {
  Executor executor(2);
  executor.Run(Priority::kDecode, [&](const Context& outer) {
    EXPECT_EQ(kernels::Threads(outer), 2);
    EXPECT_NE(outer.workspace, nullptr);
    executor.Run(Priority::kDecode, [&](const Context& inner) { EXPECT_EQ(&inner, &outer); });
  });
}

// An operation of training can be interrupted, and serving must not overwrite its scratch memory.
TEST(ExecutorTest, TrainingHasPausesAndAWorkspaceOfItsOwn) {
  Executor executor(2);
  Context serving;
  executor.Run(Priority::kPrefill, [&](const Context& context) { serving = context; });
  EXPECT_EQ(serving.pauses, nullptr);
  executor.Run(Priority::kTraining, [&](const Context& outer) {
    EXPECT_EQ(outer.team, serving.team);
    EXPECT_NE(outer.workspace, nullptr);
    EXPECT_NE(outer.workspace, serving.workspace);
    EXPECT_NE(outer.pauses, nullptr);
    executor.Run(Priority::kDecode, [&](const Context& inner) { EXPECT_EQ(&inner, &outer); });
  });
}

TEST(ExecutorTest, AUnitInsideAUnitRunsAtOnce) {
  Executor executor(1);
  std::string order;
  executor.Run(Priority::kDecode, [&](const Context&) {
    order += "a";
    executor.Run(Priority::kTraining, [&](const Context&) { order += "b"; });
    order += "c";
  });
  EXPECT_EQ(order, "abc");
}

TEST(ExecutorTest, YieldOutsideAUnitDoesNothing) {
  Executor executor(1);
  executor.Yield();
}

// Keeps the compute thread inside a unit while other units are queued, so that their order is
// deterministic.
class BusyExecutor {
 public:
  BusyExecutor()
      : thread_([this] {
          executor.Run(Priority::kTraining, [this](const Context&) {
            entered_.count_down();
            release_.wait();
            executor.Yield();
            Log("rest of training");
          });
        }) {
    entered_.wait();
  }
  ~BusyExecutor() { Finish(); }

  // Submits from a new thread and returns once the unit is queued.
  void Queue(Priority priority, std::string name) {
    std::latch submitting(1);
    threads_.emplace_back([&, priority, name] {
      submitting.count_down();
      executor.Run(priority, [this, name](const Context&) { Log(name); });
    });
    submitting.wait();
    while (executor.waiting() < static_cast<int>(threads_.size())) std::this_thread::yield();
  }

  std::vector<std::string> Finish() {
    if (!released_) release_.count_down();
    released_ = true;
    if (thread_.joinable()) thread_.join();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
    std::lock_guard lock(mutex_);
    return log_;
  }

  Executor executor{1};

 private:
  void Log(const std::string& what) {
    std::lock_guard lock(mutex_);
    log_.push_back(what);
  }

  std::mutex mutex_;
  std::vector<std::string> log_;
  std::latch entered_{1}, release_{1};
  bool released_ = false;
  std::vector<std::thread> threads_;
  std::thread thread_;
};

TEST(ExecutorTest, YieldLetsOnlyMoreUrgentUnitsIn) {
  BusyExecutor busy;
  busy.Queue(Priority::kTraining, "other training");
  busy.Queue(Priority::kPrefill, "prefill");
  busy.Queue(Priority::kDecode, "decode");
  EXPECT_EQ(busy.Finish(),
            (std::vector<std::string>{"decode", "prefill", "rest of training", "other training"}));
  EXPECT_EQ(busy.executor.interruptions(), 1);
}

TEST(ExecutorTest, UnitsOfOnePriorityKeepTheirOrder) {
  BusyExecutor busy;
  for (const char* name : {"1", "2", "3", "4"}) busy.Queue(Priority::kPrefill, name);
  EXPECT_EQ(busy.Finish(), (std::vector<std::string>{"1", "2", "3", "4", "rest of training"}));
}

TEST(ExecutorTest, AnOperationOfTrainingLetsServingInBetweenItsPieces) {
  constexpr double kNanoseconds = 1e9;  // so it is said
  std::atomic<bool> served = false;
  std::vector<std::thread> threads;
  Executor executor(2);
  executor.Run(Priority::kTraining, [&](const Context& context) {
    kernels::ParallelRows(context, 1000, kNanoseconds, [&](const Context&, int64_t begin, int64_t) {
      if (begin != 0) return;
      threads.emplace_back(
          [&] { executor.Run(Priority::kDecode, [&](const Context&) { served = true; }); });
      while (executor.waiting() == 0) std::this_thread::yield();
    });
    EXPECT_TRUE(served);
  });
  for (std::thread& thread : threads) thread.join();
}

using std::chrono::milliseconds;

// Submits units of serving of `unit`, one after the other, until it ends.
class PermanentLoad {
 public:
  PermanentLoad(Executor& executor, FakeExecutorClock& clock, Priority priority, milliseconds unit)
      : thread_([&executor, &clock, priority, unit, this] {
          while (!done_) executor.Run(priority, [&](const Context&) { clock.Advance(unit); });
        }) {}
  ~PermanentLoad() {
    done_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

// Training computes for `time`, of the clock, while a unit of the load waits.
void ComputeBesideLoad(Executor& executor, FakeExecutorClock& clock, milliseconds time) {
  while (executor.waiting() == 0) std::this_thread::yield();
  clock.Advance(time);
}

TEST(ExecutorTest, UnderAPermanentLoadTrainingGetsItsShare) {
  constexpr milliseconds kServing{8}, kUnit{2};
  for (const double share : {0.05, 0.2, 0.5, 1.0}) {
    FakeExecutorClock clock;
    Executor executor(1, {.training_share = share, .clock = &clock});
    const PermanentLoad decode(executor, clock, Priority::kDecode, kServing);
    const PermanentLoad prefill(executor, clock, Priority::kPrefill, kServing);
    while (executor.serving_time() == milliseconds(0)) std::this_thread::yield();
    executor.Run(Priority::kTraining, [&](const Context&) {
      executor.Yield();
      const auto serving = executor.serving_time(), training = executor.training_time();
      for (int i = 0; i < 400; ++i) {
        ComputeBesideLoad(executor, clock, kUnit);
        executor.Yield();
      }
      EXPECT_EQ(executor.training_time() - training, 400 * kUnit);
      const std::chrono::duration<double> served = executor.serving_time() - serving,
                                          trained = 400 * kUnit;
      const std::chrono::duration<double> unit = kServing + kUnit;
      EXPECT_NEAR((1 - share) * trained.count(), share * served.count(), unit.count()) << share;
    });
  }
}

// Whole units, such as the parts of a quantization, obey the same rule. While no unit of training
// waits, serving may get more.
TEST(ExecutorTest, TrainingGetsNoMoreThanItsShareInUnitsThatDoNotYield) {
  FakeExecutorClock clock;
  Executor executor(1, {.training_share = 0.2, .clock = &clock});
  const PermanentLoad decode(executor, clock, Priority::kDecode, milliseconds(8));
  while (executor.serving_time() == milliseconds(0)) std::this_thread::yield();
  const auto serving = executor.serving_time();
  for (int i = 0; i < 100; ++i) {
    executor.Run(Priority::kTraining,
                 [&](const Context&) { ComputeBesideLoad(executor, clock, milliseconds(20)); });
  }
  const std::chrono::duration<double> served = executor.serving_time() - serving;
  EXPECT_GE(served.count(), 8.0 - 0.1);
}

TEST(ExecutorTest, WithoutServingTrainingGetsEverythingAtOnce) {
  FakeExecutorClock clock;
  Executor executor(1, {.training_share = 0.05, .clock = &clock});
  executor.Run(Priority::kTraining, [&](const Context&) {
    for (int i = 0; i < 100; ++i) {
      clock.Advance(milliseconds(2));
      executor.Yield();
    }
  });
  EXPECT_EQ(executor.training_time(), milliseconds(200));
  EXPECT_EQ(executor.serving_time(), milliseconds(0));
  EXPECT_EQ(clock.Now().time_since_epoch(), milliseconds(200));
  EXPECT_EQ(executor.interruptions(), 0);
}

// Between the steps of a stream no unit of serving waits.
TEST(ExecutorTest, TrainingWaitsForServingThatIsToCome) {
  FakeExecutorClock clock;
  std::string order;  // only units touch it
  Executor executor(1, {.training_share = 0.2, .clock = &clock});
  const auto step = [&](const Context&) {
    clock.Advance(milliseconds(1));
    order += "d";
  };
  executor.Run(Priority::kDecode, step);
  std::thread training(
      [&] { executor.Run(Priority::kTraining, [&](const Context&) { order += "t"; }); });
  clock.AwaitWaiter();
  executor.Run(Priority::kDecode, step);
  clock.AwaitWaiter();
  clock.Advance(TrainingShare::kGrace);
  training.join();
  EXPECT_EQ(order, "ddt");
}

TEST(ExecutorTest, TheEndDoesNotWaitForServingThatIsToCome) {
  FakeExecutorClock clock;
  bool trained = false;
  std::thread training;
  {
    Executor executor(1, {.training_share = 0.2, .clock = &clock});
    executor.Run(Priority::kDecode, [&](const Context&) { clock.Advance(milliseconds(1)); });
    training = std::thread(
        [&] { executor.Run(Priority::kTraining, [&](const Context&) { trained = true; }); });
    clock.AwaitWaiter();
  }
  training.join();
  EXPECT_TRUE(trained);
}

TEST(ExecutorTest, ManyThreadsLoseNothing) {
  Executor executor(2);
  int count = 0;  // only units touch it, and they run one at a time
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        executor.Run(static_cast<Priority>(t % kPriorityCount), [&](const Context&) {
          executor.Yield();
          ++count;
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, 1600);
}

TEST(ExecutorTest, WhatAUnitThrowsComesToWhoSubmittedIt) {
  BusyExecutor busy;
  EXPECT_THROW(Executor(2).Run(Priority::kDecode, [](const Context&) { throw std::bad_alloc(); }),
               std::bad_alloc);
  // Also for a unit that interrupts another.
  std::thread thrower([&] {
    EXPECT_THROW(
        busy.executor.Run(Priority::kDecode, [](const Context&) { throw std::bad_alloc(); }),
        std::bad_alloc);
  });
  while (busy.executor.waiting() == 0) std::this_thread::yield();
  busy.Finish();
  thrower.join();
}

TEST(ExecutorTest, TryRunSaysWhatWasThrown) {
  Executor executor(2);
  EXPECT_TRUE(executor.TryRun(Priority::kDecode, [](const Context&) {}).ok());
  const absl::Status failed =
      executor.TryRun(Priority::kDecode, [](const Context&) { throw std::bad_alloc(); });
  EXPECT_TRUE(absl::IsAborted(failed)) << failed;
}

// All models compute on the same threads, so the scratch memory of the threads is booked once.
TEST(ExecutorTest, TrainingHasScratchBesideThatOfServing) {
  Ledger ledger;
  Executor executor(1);
  const auto decode = *executor.ReserveScratch(Priority::kDecode, ledger, 100);
  const auto prefill = *executor.ReserveScratch(Priority::kPrefill, ledger, 200);
  const auto training = *executor.ReserveScratch(Priority::kTraining, ledger, 50);
  EXPECT_EQ(ledger.used(), 250);
}

TEST(ExecutorTest, ScratchIsBookedOnceAsMuchAsTheLargestAsksFor) {
  Ledger ledger(1000), other;
  Executor executor(1);
  auto small = *executor.ReserveScratch(Priority::kDecode, ledger, 100);
  auto large = *executor.ReserveScratch(Priority::kDecode, ledger, 300);
  auto medium = *executor.ReserveScratch(Priority::kDecode, ledger, 200);
  EXPECT_EQ(ledger.used(), 300);
  const auto elsewhere = *executor.ReserveScratch(Priority::kDecode, other, 50);
  EXPECT_EQ(other.used(), 50);
  EXPECT_TRUE(
      absl::IsResourceExhausted(executor.ReserveScratch(Priority::kDecode, ledger, 2000).status()));
  EXPECT_EQ(ledger.used(), 300);
  large.reset();
  EXPECT_EQ(ledger.used(), 200);
  small.reset();
  EXPECT_EQ(ledger.used(), 200);
  auto next = *executor.ReserveScratch(Priority::kDecode, ledger, 250);
  EXPECT_EQ(ledger.used(), 250) << "together with what was there before another ledger came";
  medium.reset();
  next.reset();
  EXPECT_EQ(ledger.used(), 0);
  EXPECT_EQ(ledger.used(Purpose::kWorkspace), 0);
}

TEST(ExecutorTest, ScratchIsAtAllTimesThatOfTheLargestHolder) {
  std::mt19937_64 random(1);
  Ledger ledger;
  std::multimap<int64_t, std::shared_ptr<const void>> holders;
  {
    Executor executor(1);
    for (int step = 0; step < 2000; ++step) {
      if (random() % 2 == 0 || holders.empty()) {
        const auto bytes = static_cast<int64_t>(random() % 100);
        holders.emplace(bytes, *executor.ReserveScratch(Priority::kDecode, ledger, bytes));
      } else {
        holders.erase(std::next(holders.begin(), random() % holders.size()));
      }
      ASSERT_EQ(ledger.used(), holders.empty() ? 0 : holders.rbegin()->first) << "step " << step;
    }
  }
  holders.clear();  // holders may outlive the executor
  EXPECT_EQ(ledger.used(), 0);
}

}  // namespace
}  // namespace whipsnake::engine
