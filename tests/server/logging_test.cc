#include "server/logging.h"

#include <gtest/gtest.h>

#include <regex>
#include <string>

#include "engine/base/disk_full.h"
#include "server/disk_errors.h"

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

// What is logged while it lives.
class CapturedLog {
 public:
  CapturedLog() { testing::internal::CaptureStderr(); }
  std::string Text() { return testing::internal::GetCapturedStderr(); }
};

TEST(LogTest, ALineHasItsTimeInUtc) {
  CapturedLog log;
  Log(LogLevel::kWarning, "something happened", {{"number", int64_t{3}}, {"text", "a b"}});
  const std::string line = log.Text();
  EXPECT_TRUE(std::regex_match(
      line, std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning something happened )"
                       R"(number=3 text="a b"\n)")))
      << line;
}

TEST(LogTest, LinesAreCountedByLevelAndThoseLeftOut) {
  const int64_t errors = LogLines(LogLevel::kError), infos = LogLines(LogLevel::kInfo);
  const int64_t dropped = LogLinesDropped();
  CapturedLog log;
  constexpr int kLines = LineLimiter::kBurst + 5;
  for (int i = 0; i < kLines; ++i) LogLimited(LogLevel::kError, "a flood", {}, "of one kind");
  LogLimited(LogLevel::kInfo, "a flood", {}, "of another kind");
  log.Text();
  EXPECT_EQ(LogLines(LogLevel::kInfo), infos + 1);
  const int64_t written = LogLines(LogLevel::kError) - errors;
  EXPECT_GE(written, LineLimiter::kBurst);
  EXPECT_EQ(written + LogLinesDropped() - dropped, kLines);
}

TEST(DiskErrorsTest, AreLoggedAndCountedByKind) {
  const auto count = [](DiskErrorKind kind, const absl::Status& status) {
    const int64_t before = DiskErrors(kind);
    CapturedLog log;
    LogDiskError("a file", status, {{"file", "f"}});
    EXPECT_NE(log.Text().find(" error a file file=f error=why\n"), std::string::npos);
    return DiskErrors(kind) - before;
  };
  EXPECT_EQ(count(DiskErrorKind::kFull, engine::DiskFullError("why")), 1);
  EXPECT_EQ(count(DiskErrorKind::kOther, absl::ResourceExhaustedError("why")), 1);
  EXPECT_EQ(count(DiskErrorKind::kDamaged, absl::DataLossError("why")), 1);
  EXPECT_EQ(count(DiskErrorKind::kOther, absl::InternalError("why")), 1);
  EXPECT_EQ(count(DiskErrorKind::kFull, absl::UnavailableError("why")), 0);
}

}  // namespace
}  // namespace whipsnake::server
