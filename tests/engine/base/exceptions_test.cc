#include "engine/base/exceptions.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>
#include <system_error>

namespace whipsnake::engine {
namespace {

TEST(CatchExceptionsTest, ReturnsWhatTheWorkReturns) {
  bool done = false;
  EXPECT_TRUE(CatchExceptions([&] { done = true; }).ok());
  EXPECT_TRUE(done);
  EXPECT_EQ(CatchExceptions([] { return absl::DataLossError("damaged"); }),
            absl::DataLossError("damaged"));
  EXPECT_EQ(*CatchExceptions([]() -> absl::StatusOr<int> { return 3; }), 3);
}

TEST(CatchExceptionsTest, AnExceptionIsAStatus) {
  const auto code_of = [](const auto& exception) {
    const absl::Status status = CatchExceptions([&] { throw exception; });
    const absl::StatusOr<int> value =
        CatchExceptions([&]() -> absl::StatusOr<int> { throw exception; });
    EXPECT_EQ(status, value.status());
    return status.code();
  };
  EXPECT_EQ(code_of(std::bad_alloc()), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code_of(std::system_error(EAGAIN, std::generic_category())),  // no thread available
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code_of(std::system_error(EIO, std::generic_category())), absl::StatusCode::kInternal);
  EXPECT_EQ(code_of(std::out_of_range("index 7")), absl::StatusCode::kInternal);
  EXPECT_EQ(code_of(7), absl::StatusCode::kInternal);
  EXPECT_EQ(CatchExceptions([] { throw std::out_of_range("index 7"); }).message(), "index 7");
}

}  // namespace
}  // namespace whipsnake::engine
