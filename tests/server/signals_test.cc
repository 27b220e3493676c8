#include "server/signals.h"

#include <csignal>

#include "gtest/gtest.h"

namespace whipsnake::server {
namespace {

using Action = SignalMeaning::Action;
using std::chrono::milliseconds;

constexpr SignalMeaning::Time kStart{};

TEST(SignalMeaningTest, TheFirstSignalDrainsAndALaterOneExits) {
  for (const int first : {SIGTERM, SIGINT}) {
    for (const int second : {SIGTERM, SIGINT}) {
      SignalMeaning meaning;
      EXPECT_EQ(meaning.Of(first, kStart), Action::kDrain);
      EXPECT_EQ(meaning.Of(second, kStart + milliseconds(1000)), Action::kExit);
    }
  }
}

TEST(SignalMeaningTest, SigtermsWithinASecondAreOneRequest) {
  SignalMeaning meaning;
  EXPECT_EQ(meaning.Of(SIGTERM, kStart), Action::kDrain);
  EXPECT_EQ(meaning.Of(SIGTERM, kStart + milliseconds(999)), Action::kNone);
  EXPECT_EQ(meaning.Of(SIGTERM, kStart + milliseconds(1998)), Action::kNone);
  EXPECT_EQ(meaning.Of(SIGTERM, kStart + milliseconds(2998)), Action::kExit);
}

TEST(SignalMeaningTest, ASecondCtrlCExitsAtOnce) {
  SignalMeaning meaning;
  EXPECT_EQ(meaning.Of(SIGINT, kStart), Action::kDrain);
  EXPECT_EQ(meaning.Of(SIGINT, kStart + milliseconds(1)), Action::kExit);
}

TEST(SignalMeaningTest, AHangUpReloadsAndNothingElse) {
  SignalMeaning meaning;
  EXPECT_EQ(meaning.Of(SIGHUP, kStart), Action::kReload);
  EXPECT_EQ(meaning.Of(SIGTERM, kStart), Action::kDrain);
  EXPECT_EQ(meaning.Of(SIGHUP, kStart + milliseconds(5000)), Action::kReload);
}

}  // namespace
}  // namespace whipsnake::server
