#include "server/work/task_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <new>
#include <string>

namespace whipsnake::server {
namespace {

TaskPoolOptions Options(int threads, size_t max_waiting) {
  return {.name = "compile",
          .threads = threads,
          .max_waiting = max_waiting,
          .low_priority = true,
          .purpose = "to compile their structured output",
          .full_reason = "COMPILE_QUEUE_FULL"};
}

TEST(TaskPoolTest, RunsWhatItAcceptsAndRefusesWhatIsTooMuch) {
  std::latch busy(1), release(1);
  std::atomic<int> run = 0;
  {
    TaskPool pool(Options(1, 2));
    ASSERT_TRUE(pool.Run("a",
                         [&] {
                           busy.count_down();
                           release.wait();
                           ++run;
                         })
                    .ok());
    busy.wait();
    EXPECT_TRUE(pool.Run("b", [&] { ++run; }).ok());
    EXPECT_TRUE(pool.Run("c", [&] { ++run; }).ok());
    const absl::Status refused = pool.Run("d", [&] { ++run; });
    EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
    EXPECT_EQ(refused.message(),
              "too many requests are waiting to compile their structured output (limit 2)");
    release.count_down();
  }
  EXPECT_EQ(run, 3) << "what waits at the end is run";
}

TEST(TaskPoolTest, OneClientHasAQuarterOfTheQueue) {
  std::latch busy(1), release(1);
  TaskPool pool(Options(1, 8));
  ASSERT_TRUE(pool.Run("greedy",
                       [&] {
                         busy.count_down();
                         release.wait();
                       })
                  .ok());
  busy.wait();
  EXPECT_TRUE(pool.Run("greedy", [] {}).ok());
  EXPECT_TRUE(pool.Run("greedy", [] {}).ok());
  const absl::Status refused = pool.Run("greedy", [] {});
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_TRUE(pool.Run("another", [] {}).ok());
  release.count_down();
}

TEST(TaskPoolTest, ClientsTakeTurns) {
  std::latch busy(1), release(1);
  std::string order;  // written by the only thread
  {
    TaskPool pool(Options(1, 32));
    ASSERT_TRUE(pool.Run("a",
                         [&] {
                           busy.count_down();
                           release.wait();
                         })
                    .ok());
    busy.wait();
    for (const char client : std::string("aaaabbbc")) {
      ASSERT_TRUE(pool.Run(std::string(1, client), [&order, client] { order += client; }).ok());
    }
    release.count_down();
  }
  EXPECT_EQ(order, "abcababa");
}

TEST(TaskPoolTest, AnAcceptedCallGoesOnHoweverManyWait) {
  std::latch busy(1), release(1);
  std::atomic<int> run = 0;
  {
    TaskPool pool(Options(1, 1));
    pool.Continue([&] {
      busy.count_down();
      release.wait();
    });
    busy.wait();
    for (int i = 0; i < 5; ++i) pool.Continue([&] { ++run; });
    EXPECT_TRUE(absl::IsResourceExhausted(pool.Run("a", [] {})));
    release.count_down();
  }
  EXPECT_EQ(run, 5);
}

TEST(TaskPoolTest, OneTaskDoesNotWaitForAnother) {
  std::latch release(1), done(1);
  TaskPool pool(Options(2, 2));
  ASSERT_TRUE(pool.Run("a", [&] { release.wait(); }).ok());
  ASSERT_TRUE(pool.Run("b", [&] { done.count_down(); }).ok());
  done.wait();
  release.count_down();
}

TEST(TaskPoolTest, AnExceptionOfATaskIsNoEndOfTheThread) {
  std::latch done(1);
  TaskPool pool(Options(1, 2));
  ASSERT_TRUE(pool.Run("a", [] { throw std::bad_alloc(); }).ok());
  ASSERT_TRUE(pool.Run("b", [&] { done.count_down(); }).ok());
  done.wait();
}

}  // namespace
}  // namespace whipsnake::server
