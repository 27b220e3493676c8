#include "server/logging.h"

#include <gtest/gtest.h>

namespace whipsnake::server {
namespace {

using std::chrono::hours;

class LineLimiterTest : public testing::Test {
 protected:
  // Returns how many of `count` lines at the same time are written.
  int Written(std::string_view message, int count) {
    int written = 0;
    for (int i = 0; i < count; ++i) written += limiter_.Admit(message, now_).has_value();
    return written;
  }

  LineLimiter limiter_;
  LineLimiter::Clock::time_point now_{hours(1)};
};

TEST_F(LineLimiterTest, WritesABurstAndThenOneEachInterval) {
  EXPECT_EQ(Written("flood", 1000), LineLimiter::kBurst);
  for (int i = 0; i < 100; ++i) {
    now_ += LineLimiter::kInterval;
    EXPECT_EQ(Written("flood", 1000), 1);
  }
  now_ += hours(1);
  EXPECT_EQ(Written("flood", 1000), LineLimiter::kBurst);
}

TEST_F(LineLimiterTest, SaysHowManyWereLeftOut) {
  EXPECT_EQ(Written("flood", LineLimiter::kBurst + 7), LineLimiter::kBurst);
  now_ += LineLimiter::kInterval;
  EXPECT_EQ(limiter_.Admit("flood", now_), 7);
  now_ += LineLimiter::kInterval;
  EXPECT_EQ(limiter_.Admit("flood", now_), 0);
}

TEST_F(LineLimiterTest, OneMessageDoesNotHideAnother) {
  EXPECT_EQ(Written("flood", 1000), LineLimiter::kBurst);
  EXPECT_EQ(limiter_.Admit("something else", now_), 0);
}

}  // namespace
}  // namespace whipsnake::server
