#include "engine/base/executor.h"

#include <gtest/gtest.h>

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
}

TEST(ExecutorTest, UnitsOfOnePriorityKeepTheirOrder) {
  BusyExecutor busy;
  for (const char* name : {"1", "2", "3", "4"}) busy.Queue(Priority::kPrefill, name);
  EXPECT_EQ(busy.Finish(), (std::vector<std::string>{"1", "2", "3", "4", "rest of training"}));
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
TEST(ExecutorTest, ScratchIsBookedOnceAsMuchAsTheLargestAsksFor) {
  Ledger ledger(1000), other;
  Executor executor(1);
  auto small = *executor.ReserveScratch(ledger, 100);
  auto large = *executor.ReserveScratch(ledger, 300);
  auto medium = *executor.ReserveScratch(ledger, 200);
  EXPECT_EQ(ledger.used(), 300);
  const auto elsewhere = *executor.ReserveScratch(other, 50);
  EXPECT_EQ(other.used(), 50);
  EXPECT_TRUE(absl::IsResourceExhausted(executor.ReserveScratch(ledger, 2000).status()));
  EXPECT_EQ(ledger.used(), 300);
  large.reset();
  EXPECT_EQ(ledger.used(), 200);
  small.reset();
  EXPECT_EQ(ledger.used(), 200);
  auto next = *executor.ReserveScratch(ledger, 250);
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
        holders.emplace(bytes, *executor.ReserveScratch(ledger, bytes));
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
