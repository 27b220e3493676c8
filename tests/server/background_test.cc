#include "server/work/background.h"

#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <new>
#include <stdexcept>

namespace whipsnake::server {
namespace {

TEST(BackgroundTest, TellsWhatCameOfATask) {
  std::promise<absl::Status> good, bad;
  Background background(/*max_tasks=*/2);
  ASSERT_TRUE(background
                  .Run([] { return absl::OkStatus(); },
                       [&](const absl::Status& status) { good.set_value(status); })
                  .ok());
  ASSERT_TRUE(background
                  .Run([] { return absl::DataLossError("damaged"); },
                       [&](const absl::Status& status) { bad.set_value(status); })
                  .ok());
  EXPECT_TRUE(good.get_future().get().ok());
  EXPECT_EQ(bad.get_future().get(), absl::DataLossError("damaged"));
}

TEST(BackgroundTest, AnExceptionIsWhatCameOfATask) {
  std::promise<absl::Status> memory, other;
  {
    Background background(/*max_tasks=*/2);
    ASSERT_TRUE(background
                    .Run([]() -> absl::Status { throw std::bad_alloc(); },
                         [&](const absl::Status& status) { memory.set_value(status); })
                    .ok());
    // An exception that the callback throws is dropped.
    ASSERT_TRUE(background
                    .Run([]() -> absl::Status { throw std::logic_error("wrong"); },
                         [&](const absl::Status& status) {
                           other.set_value(status);
                           throw std::bad_alloc();
                         })
                    .ok());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(memory.get_future().get()));
  EXPECT_TRUE(absl::IsInternal(other.get_future().get()));
}

TEST(BackgroundTest, RefusesWhatIsTooMuch) {
  std::latch release(1);
  bool told = false;
  Background background(/*max_tasks=*/1);
  ASSERT_TRUE(background
                  .Run(
                      [&] {
                        release.wait();
                        return absl::OkStatus();
                      },
                      [](const absl::Status&) {})
                  .ok());
  const absl::Status refused =
      background.Run([] { return absl::OkStatus(); }, [&](const absl::Status&) { told = true; });
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_FALSE(told);
  release.count_down();
}

}  // namespace
}  // namespace whipsnake::server
