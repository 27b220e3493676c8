#include "engine/generate/stop_filter.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace whipsnake::engine {
namespace {

TEST(StopFilterTest, HoldsBackOnlyWhatMayBecomeAStop) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.Push("spEN"), "sp");
  EXPECT_EQ(filter.Push("ce E"), "ENce ");
  EXPECT_EQ(filter.Push("N"), "");
  EXPECT_EQ(filter.Push("D more"), "");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.Push("after"), "");
  EXPECT_EQ(filter.Finish(), "");
}

TEST(StopFilterTest, FinishReleasesWhatWasHeldBack) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.Push("an EN"), "an ");
  EXPECT_EQ(filter.Finish(), "EN");
  EXPECT_FALSE(filter.stopped());
}

TEST(StopFilterTest, SelfOverlappingStopsAreFound) {
  StopFilter filter({"aab"});
  EXPECT_EQ(filter.Push("aa"), "");
  EXPECT_EQ(filter.Push("ab"), "a");
  EXPECT_TRUE(filter.stopped());
}

TEST(StopFilterTest, TheStopThatIsCompleteFirstWins) {
  StopFilter filter({"abcd", "c"});
  EXPECT_EQ(filter.Push("xabcd"), "xab");
  EXPECT_TRUE(filter.stopped());
}

// However the text is cut, the output ends before the stop text that is complete first.
TEST(StopFilterTest, TheResultDoesNotDependOnThePieces) {
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops(1 + random() % 3);
    for (std::string& stop : stops) {
      for (int i = 1 + random() % 4; i > 0; --i) stop += static_cast<char>('a' + random() % 2);
    }
    std::string text;
    for (int i = random() % 12; i > 0; --i) text += static_cast<char>('a' + random() % 3);
    std::string expected = text;
    bool expected_stop = false;
    for (size_t end = 1; end <= text.size() && !expected_stop; ++end) {
      for (const std::string& stop : stops) {
        if (!std::string_view(text).substr(0, end).ends_with(stop)) continue;
        expected = text.substr(0, end - stop.size());
        expected_stop = true;
        break;
      }
    }
    StopFilter filter(stops);
    std::string seen;
    for (size_t at = 0; at < text.size();) {
      const size_t length = std::min<size_t>(1 + random() % 4, text.size() - at);
      seen += filter.Push(std::string_view(text).substr(at, length));
      at += length;
    }
    seen += filter.Finish();
    EXPECT_EQ(filter.stopped(), expected_stop) << text;
    EXPECT_EQ(seen, expected) << text;
  }
}

}  // namespace
}  // namespace whipsnake::engine
