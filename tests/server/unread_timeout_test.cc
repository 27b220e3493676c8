#include "server/rpc/unread_timeout.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>

namespace whipsnake::server {
namespace {

using std::chrono::seconds;

// A client's time, on a clock that a test sets.
class FakeCall {
 public:
  static constexpr seconds kTimeout{30};

  void Wait(seconds time) {
    now_ += time;
    if (deadline_ && now_ >= *deadline_) cut_ = true;
  }
  bool cut() const { return cut_; }

  UnreadTimeout unread{[this] { deadline_ = now_ + kTimeout; }, [this] { deadline_.reset(); }};

 private:
  seconds now_{0};
  std::optional<seconds> deadline_;
  bool cut_ = false;
};

TEST(UnreadTimeoutTest, WhoReadsHasAllTimeForALongRest) {
  FakeCall call;
  call.unread.OnEnded();
  for (int message = 0; message < 1000; ++message) {
    call.unread.OnWriting();
    call.Wait(FakeCall::kTimeout - seconds(1));
    call.unread.OnWritten();
  }
  EXPECT_FALSE(call.cut());
}

TEST(UnreadTimeoutTest, WhoDoesNotReadIsFoundOutByAnyMessage) {
  for (const int read : {0, 1, 100}) {
    FakeCall call;
    call.unread.OnEnded();
    for (int message = 0; message < read; ++message) {
      call.unread.OnWriting();
      call.unread.OnWritten();
    }
    call.unread.OnWriting();
    call.Wait(FakeCall::kTimeout);
    EXPECT_TRUE(call.cut()) << read;
  }
}

TEST(UnreadTimeoutTest, TheEndFindsAMessageOnItsWay) {
  FakeCall call;
  call.unread.OnWriting();
  call.Wait(10 * FakeCall::kTimeout);  // of a job that runs: the client may look later
  EXPECT_FALSE(call.cut());
  call.unread.OnEnded();
  call.Wait(FakeCall::kTimeout - seconds(1));
  call.unread.OnEnded();  // another change of the job
  call.Wait(seconds(1));
  EXPECT_TRUE(call.cut());
}

TEST(UnreadTimeoutTest, TheServersOwnTimeIsNotTheClients) {
  FakeCall call;
  call.unread.OnWriting();
  call.unread.OnEnded();
  call.unread.OnWritten();
  call.Wait(10 * FakeCall::kTimeout);  // the next events are read from the disk
  EXPECT_FALSE(call.cut());
}

}  // namespace
}  // namespace whipsnake::server
