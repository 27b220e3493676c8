#include "server/rpc/compile_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>

namespace whipsnake::server {
namespace {

TEST(CompilePoolTest, RunsWhatItAcceptsAndRefusesWhatIsTooMuch) {
  std::latch busy(1), release(1);
  std::atomic<int> run = 0;
  {
    CompilePool pool(/*threads=*/1, /*max_waiting=*/2);
    ASSERT_TRUE(pool.Run([&] {
                      busy.count_down();
                      release.wait();
                      ++run;
                    })
                    .ok());
    busy.wait();
    EXPECT_TRUE(pool.Run([&] { ++run; }).ok());
    EXPECT_TRUE(pool.Run([&] { ++run; }).ok());
    const absl::Status refused = pool.Run([&] { ++run; });
    EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
    EXPECT_EQ(refused.message(),
              "2 requests wait for their structured output to be compiled, the most at a time");
    release.count_down();
  }
  EXPECT_EQ(run, 3) << "what waits at the end is run";
}

TEST(CompilePoolTest, OneTaskDoesNotWaitForAnother) {
  std::latch release(1), done(1);
  CompilePool pool(/*threads=*/2, /*max_waiting=*/2);
  ASSERT_TRUE(pool.Run([&] { release.wait(); }).ok());
  ASSERT_TRUE(pool.Run([&] { done.count_down(); }).ok());
  done.wait();
  release.count_down();
}

}  // namespace
}  // namespace whipsnake::server
