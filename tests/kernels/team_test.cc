#include "kernels/cpu/team.h"

#include <atomic>
#include <latch>
#include <new>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace whipsnake::kernels {
namespace {

TEST(TeamTest, EveryShareIsDoneOnce) {
  Team team(3);
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::atomic<int>> calls(3);
    team.Run([&](int share) { ++calls[share]; });
    for (const auto& count : calls) ASSERT_EQ(count, 1);
  }
}

// Each share waits for the others to begin, so each needs a thread of its own.
TEST(TeamTest, SharesRunAtTheSameTime) {
  Team team(3);
  std::latch all(3);
  team.Run([&](int) { all.arrive_and_wait(); });
}

// Plain (non-atomic) values written in one round are visible in the next.
TEST(TeamTest, RoundsFollowOneAnother) {
  Team team(4);
  std::vector<int> values(4, 0), next(4);
  for (int round = 0; round < 2000; ++round) {
    team.Run([&](int member) { next[member] = values[(member + 1) % 4] + 1; });
    std::swap(values, next);
  }
  EXPECT_EQ(values, std::vector<int>(4, 2000));
}

TEST(TeamTest, RunWaitsForSleepersToo) {
  Team team(2);
  std::atomic<int> calls{0};
  // Workers go to sleep if the caller stays away long enough between rounds.
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 200000; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
    team.Run([&](int) { ++calls; });
    EXPECT_EQ(calls, 2 * (round + 1));
  }
}

// Tests every thread: an exception that left a worker's thread would end the process.
TEST(TeamTest, WhatAShareThrowsComesToTheCaller) {
  Team team(3);
  for (int thrower = 0; thrower < 3; ++thrower) {
    std::atomic<int> done{0};
    // The latch makes each share run on a thread of its own.
    std::latch all(3);
    const auto work = [&](int share) {
      all.arrive_and_wait();
      if (share == thrower) throw std::bad_alloc();
      ++done;
    };
    EXPECT_THROW(team.Run(work), std::bad_alloc);
    EXPECT_EQ(done, 2);
  }
  std::atomic<int> done{0};
  EXPECT_THROW(team.Run([](int) { throw std::bad_alloc(); }), std::bad_alloc);
  team.Run([&](int) { ++done; });
  EXPECT_EQ(done, 3);
}

}  // namespace
}  // namespace whipsnake::kernels
