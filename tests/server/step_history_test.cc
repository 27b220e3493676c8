#include "server/cli/step_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/base/utf8.h"

namespace whipsnake::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Sparkline, GoesFromTheLeastToTheGreatestOfTheLastValues) {
  EXPECT_EQ(Sparkline(std::vector<double>{0, 1, 2, 3, 4, 5, 6, 7}, 8), "▁▂▃▄▅▆▇█");
  EXPECT_EQ(Sparkline(std::vector<double>{100, -100, 3, 1, 2}, 3), "█▁▅");
  EXPECT_EQ(Sparkline(std::vector<double>{2, 2, 2}, 10), "▁▁▁");
  EXPECT_EQ(Sparkline({}, 10), "");
  EXPECT_EQ(Sparkline(std::vector<double>{1, 2}, 0), "");
  EXPECT_EQ(Sparkline(std::vector<double>{1, 2}, -1), "");
}

TEST(Sparkline, MarksWhatIsNotFinite) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(Sparkline(std::vector<double>{1, std::nan(""), 2, kInfinity, -kInfinity}, 5), "▁×█××");
  EXPECT_EQ(Sparkline(std::vector<double>{std::nan("")}, 5), "×");
}

TEST(LayerMap, ReadsRuns) {
  EXPECT_THAT(LayerMap::Parse("2,1,4").active,
              ElementsAre(false, false, true, false, false, false, false));
  EXPECT_THAT(LayerMap::Parse("0,2").active, ElementsAre(true, true));
  EXPECT_THAT(LayerMap::Parse("").active, IsEmpty());
  for (const char* bad : {"a", "1,,2", "-1", "1,99999999", "4294967296"}) {
    EXPECT_THAT(LayerMap::Parse(bad).active, IsEmpty()) << bad;
  }
}

TEST(LayerMap, DrawsOneCharacterForEachLayerOrSeveralLayersForOne) {
  EXPECT_EQ(LayerMap::Parse("2,1,4").Strip(80), "··█····");
  EXPECT_EQ(LayerMap::Parse("2,1,1").Strip(2), "·▒");
  EXPECT_EQ(LayerMap::Parse("0,4,4").Strip(4), "██··");
  EXPECT_EQ(LayerMap().Strip(10), "");
  EXPECT_EQ(LayerMap::Parse("2,1").Strip(0), "");
}

TEST(LayerMap, AStripHasEveryActiveLayer) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    LayerMap map;
    const int layers = 1 + static_cast<int>(random() % 90);
    for (int i = 0; i < layers; ++i) map.active.push_back(random() % 4 == 0);
    const int cells = 1 + static_cast<int>(random() % 100);
    const std::string strip = map.Strip(cells);
    EXPECT_EQ(engine::CountCharacters(strip), std::min(cells, layers));
    EXPECT_EQ(strip.find("█") != strip.npos || strip.find("▒") != strip.npos,
              map.active_count() > 0);
  }
}

TEST(StepHistory, StepsOfALaterAttemptReplaceThoseOfAnEarlierOne) {
  StepHistory history;
  for (int step = 1; step <= 5; ++step) history.Add(step, step);
  EXPECT_THAT(history.losses(), ElementsAre(1, 2, 3, 4, 5));
  history.Add(3, 30);
  EXPECT_THAT(history.losses(), ElementsAre(1, 2, 30));
  history.Add(4, 40);
  EXPECT_THAT(history.losses(), ElementsAre(1, 2, 30, 40));
  history.Add(1, 10);
  EXPECT_THAT(history.losses(), ElementsAre(10));
}

TEST(StepHistory, KeepsTheLastSteps) {
  StepHistory history;
  const int64_t steps = StepHistory::kMostSteps + 10;
  for (int64_t step = 1; step <= steps; ++step) history.Add(step, static_cast<double>(step));
  EXPECT_EQ(history.losses().size(), StepHistory::kMostSteps);
  EXPECT_EQ(history.losses().back(), static_cast<double>(steps));
}

}  // namespace
}  // namespace whipsnake::server
