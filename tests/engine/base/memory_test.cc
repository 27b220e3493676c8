#include "engine/base/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

namespace whipsnake::engine {
namespace {

using ::testing::HasSubstr;

TEST(LedgerTest, CountsByPurposeAndGivesBack) {
  Ledger ledger(1000);
  {
    auto weights = ledger.Allocate(300, Purpose::kWeights, "weights");
    auto states = ledger.Reserve(200, Purpose::kStates, "states");
    ASSERT_TRUE(weights.ok() && states.ok());
    EXPECT_EQ(ledger.used(), 500);
    EXPECT_EQ(ledger.used(Purpose::kWeights), 300);
    EXPECT_EQ(ledger.used(Purpose::kStates), 200);
    // A move transfers the booked bytes, and assigning over a buffer releases its bytes.
    Buffer moved = *std::move(weights);
    EXPECT_EQ(ledger.used(), 500);
    moved = *ledger.Allocate(100, Purpose::kWeights, "weights");
    EXPECT_EQ(ledger.used(Purpose::kWeights), 100);
  }
  EXPECT_EQ(ledger.used(), 0);
  EXPECT_EQ(ledger.peak(), 600);
  ledger.ResetPeak();
  EXPECT_EQ(ledger.peak(), 0);
}

TEST(LedgerTest, RefusesBeyondTheLimitAndSaysWhy) {
  Ledger ledger(1000);
  auto held = ledger.Reserve(900, Purpose::kWeights, "model a");
  ASSERT_TRUE(held.ok());
  const auto refused = ledger.Allocate(101, Purpose::kWeights, "model b");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  for (const char* part : {"model b", "101", "900", "1000"}) {
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr(part));
  }
  EXPECT_EQ(ledger.used(), 900);
  EXPECT_TRUE(ledger.CheckFits(100, "exactly full").ok());
  EXPECT_FALSE(ledger.CheckFits(INT64_MAX, "absurd").ok());
  EXPECT_FALSE(ledger.Allocate(-1, Purpose::kStates, "negative").ok());
}

TEST(LedgerTest, APartCountsInTheWholeAndIsBoundByBoth) {
  Ledger whole(100);
  const auto other = whole.Reserve(40, Purpose::kWeights, "a model");
  ASSERT_TRUE(other.ok());
  {
    Ledger part(80, &whole, Purpose::kJobs);
    auto states = part.Reserve(50, Purpose::kStates, "states");
    ASSERT_TRUE(states.ok());
    EXPECT_EQ(part.used(Purpose::kStates), 50);
    EXPECT_EQ(whole.used(Purpose::kJobs), 50);
    EXPECT_EQ(whole.used(), 90);
    EXPECT_TRUE(absl::IsResourceExhausted(part.Reserve(31, Purpose::kStates, "more").status()));
    EXPECT_TRUE(absl::IsResourceExhausted(part.Reserve(11, Purpose::kStates, "more").status()));
    EXPECT_EQ(part.used(), 50);
    EXPECT_EQ(whole.used(), 90);
    states->ShrinkTo(20);
    EXPECT_EQ(whole.used(Purpose::kJobs), 20);
    const auto buffer = part.Allocate(30, Purpose::kActivations, "a buffer");
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(whole.used(Purpose::kJobs), 50);
  }
  EXPECT_EQ(whole.used(), 40);
}

TEST(LedgerTest, BuffersAreAlignedAndZeroed) {
  Ledger ledger;
  for (const int64_t bytes : {1, 63, 64, 65, 4097}) {
    auto buffer = ledger.Allocate(bytes, Purpose::kWorkspace, "scratch");
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0);
    EXPECT_TRUE(
        std::ranges::all_of(buffer->bytes(), [](std::byte b) { return b == std::byte{0}; }));
  }
  EXPECT_EQ(ledger.Allocate(0, Purpose::kWorkspace, "nothing")->data(), nullptr);
}

TEST(LedgerTest, ThreadsTogetherNeverPassTheLimit) {
  Ledger ledger(100);
  std::atomic<int> granted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      std::vector<Reservation> mine;
      for (int i = 0; i < 50; ++i) {
        auto reservation = ledger.Reserve(1, Purpose::kStates, "one");
        if (reservation.ok()) mine.push_back(*std::move(reservation));
      }
      granted += static_cast<int>(mine.size());
      EXPECT_LE(ledger.used(Purpose::kStates), 100);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(granted, 100);  // the whole limit was granted at least once
  EXPECT_EQ(ledger.used(), 0);
}

// There is room for one of the two large requests and for the small one. The race of the large ones
// must never make the small one fail, not even for a moment.
TEST(LedgerTest, WhatFitsIsGrantedWhileOthersRaceForMore) {
  Ledger ledger(100);
  const auto held = ledger.Reserve(60, Purpose::kWeights, "held");
  std::atomic<bool> done{false};
  std::vector<std::thread> greedy;
  for (int t = 0; t < 2; ++t) {
    greedy.emplace_back([&] {
      while (!done) ledger.Reserve(30, Purpose::kStates, "much").IgnoreError();
    });
  }
  int refused = 0;
  for (int i = 0; i < 300000; ++i) {
    refused += ledger.Reserve(10, Purpose::kStates, "little").ok() ? 0 : 1;
  }
  done = true;
  for (std::thread& thread : greedy) thread.join();
  EXPECT_EQ(refused, 0);
  EXPECT_LE(ledger.peak(), 100);
}

}  // namespace
}  // namespace whipsnake::engine
