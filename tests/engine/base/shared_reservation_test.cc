#include "engine/base/shared_reservation.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <new>

namespace whipsnake::engine {
namespace {

// The number of allocations of this thread until one fails; negative if none is to fail.
thread_local int until_failure = -1;

void* AllocateOrNull(size_t bytes) {
  if (until_failure >= 0 && until_failure-- == 0) return nullptr;
  return std::malloc(bytes > 0 ? bytes : 1);
}

void* AllocateOrThrow(size_t bytes) {
  void* const data = AllocateOrNull(bytes);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

}  // namespace
}  // namespace whipsnake::engine

// All forms that are used together are replaced together: a sanitizer's forms do not pair with
// malloc. They are not inlined: GCC would see a pointer from `new` passed to `free` and warn.
void* operator new(size_t bytes) { return whipsnake::engine::AllocateOrThrow(bytes); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return whipsnake::engine::AllocateOrNull(bytes);
}
[[gnu::noinline]] void operator delete(void* data) noexcept { std::free(data); }
[[gnu::noinline]] void operator delete(void* data, size_t) noexcept { std::free(data); }

namespace whipsnake::engine {
namespace {

TEST(SharedReservationTest, TheLargestRequestIsCounted) {
  Ledger ledger(100);
  const auto shared = SharedReservation::Make(Purpose::kWorkspace, "scratch");
  auto small = shared->Book(ledger, 10);
  ASSERT_TRUE(small.ok());
  auto large = shared->Book(ledger, 60);
  ASSERT_TRUE(large.ok());
  EXPECT_EQ(ledger.used(), 60);
  EXPECT_FALSE(shared->Book(ledger, 101).ok());
  EXPECT_EQ(ledger.used(), 60);
  *large = nullptr;
  EXPECT_EQ(ledger.used(), 10);
  *small = nullptr;
  EXPECT_EQ(ledger.used(), 0);
}

// Whichever allocation fails, the call changes nothing.
TEST(SharedReservationTest, WhatCannotBeBookedLeavesNothingBehind) {
  for (const int64_t before : {0, 10}) {
    bool booked = false;
    int failing = 0;
    for (; !booked; ++failing) {
      SCOPED_TRACE(failing);
      ASSERT_LT(failing, 20);
      Ledger ledger(100);
      const auto shared = SharedReservation::Make(Purpose::kWorkspace, "scratch");
      std::shared_ptr<const void> held;
      if (before > 0) held = *shared->Book(ledger, before);
      until_failure = failing;
      try {
        booked = shared->Book(ledger, 60).ok();
      } catch (const std::bad_alloc&) {
      }
      until_failure = -1;
      EXPECT_EQ(ledger.used(), before);
    }
    EXPECT_GT(failing, 1) << "else it shows nothing";
  }
}

}  // namespace
}  // namespace whipsnake::engine
