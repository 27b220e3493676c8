#include "engine/finetune/report/line_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace whipsnake::engine {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

std::vector<ChartPoint> PointsOf(const std::vector<double>& values) {
  std::vector<ChartPoint> points;
  for (const double value : values) {
    points.push_back({static_cast<double>(points.size() + 1), value});
  }
  return points;
}

std::vector<ChartPoint> Waves(int64_t count) {
  std::vector<double> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(std::sin(0.37 * static_cast<double>(i)));
  return PointsOf(values);
}

std::string Drawn(const std::vector<double>& values, Scale scale = Scale::kAny) {
  const auto steps = static_cast<int64_t>(values.size());
  return ToHtml(LineChart{"Loss", "", steps, scale, {{"training", Mark::kLine, PointsOf(values)}}});
}

TEST(Thinned, KeepsShortSeries) { EXPECT_EQ(Thinned(Waves(2000), 2000), Waves(2000)); }

TEST(Thinned, KeepsEndsAndExtremesInOrder) {
  for (const int64_t count : {2001, 4000, 54321}) {
    std::vector<ChartPoint> points = Waves(count);
    points[count / 3].value = 7;
    points[count / 2].value = -9;
    const std::vector<ChartPoint> kept = Thinned(points, 2000);
    EXPECT_LE(kept.size(), 2000);
    EXPECT_GE(kept.size(), 1000);
    EXPECT_EQ(kept.front(), points.front());
    EXPECT_EQ(kept.back(), points.back());
    EXPECT_THAT(kept, Contains(points[count / 3]));
    EXPECT_THAT(kept, Contains(points[count / 2]));
    for (size_t i = 1; i < kept.size(); ++i) ASSERT_LT(kept[i - 1].step, kept[i].step);
  }
}

TEST(Thinned, PrefersValuesThatCanBeDrawn) {
  std::vector<ChartPoint> points = Waves(10'000);
  for (size_t i = 0; i < points.size(); i += 2)
    points[i].value = i % 4 == 0 ? std::nan("") : HUGE_VAL;
  for (size_t i = 5000; i < 6000; ++i) points[i].value = std::nan("");
  const std::vector<ChartPoint> kept = Thinned(points, 100);
  int64_t drawn = 0;
  bool gap = false;
  for (const ChartPoint& point : kept) {
    drawn += std::isfinite(point.value);
    gap |= point.step > 5100 && point.step < 5900 && !std::isfinite(point.value);
  }
  EXPECT_GE(drawn, 80);
  EXPECT_TRUE(gap);
}

TEST(Smoothed, KeepsConstantsAndStepsAndWeakensNoise) {
  for (const ChartPoint& point : Smoothed(PointsOf(std::vector<double>(50, 3.25)), 7)) {
    EXPECT_NEAR(point.value, 3.25, 1e-12);
  }
  const std::vector<ChartPoint> waves = Smoothed(Waves(500), 50);
  for (size_t i = 0; i < waves.size(); ++i) {
    EXPECT_EQ(waves[i].step, static_cast<double>(i + 1));
    EXPECT_LT(std::abs(waves[i].value), 0.2);
  }
}

// Compares with the definition.
TEST(Smoothed, IsTheWeightedMean) {
  const std::vector<ChartPoint> points = PointsOf({1, 4, std::nan(""), -2, 0.5, HUGE_VAL, 9});
  const std::vector<ChartPoint> smoothed = Smoothed(points, 2.5);
  ASSERT_EQ(smoothed.size(), points.size());
  for (size_t i = 0; i < points.size(); ++i) {
    double sum = 0, weights = 0;
    for (size_t j = 0; j < points.size(); ++j) {
      if (!std::isfinite(points[j].value)) continue;
      const double weight = std::exp(-std::abs(points[i].step - points[j].step) / 2.5);
      sum += weight * points[j].value;
      weights += weight;
    }
    EXPECT_NEAR(smoothed[i].value, sum / weights, 1e-12) << i;
  }
}

TEST(Smoothed, RecoversFromASpike) {
  std::vector<double> values(3000, 1.0);
  values[500] = 1e30;
  EXPECT_NEAR(Smoothed(PointsOf(values), 10).back().value, 1, 1e-9);
}

TEST(Smoothed, LeavesOutWhatHasNoNeighbours) {
  EXPECT_TRUE(Smoothed(PointsOf({std::nan(""), std::nan("")}), 3).empty());
  EXPECT_TRUE(Smoothed({}, 3).empty());
}

TEST(LineChart, DrawsGapsAndCountsThem) {
  const std::string html = Drawn({1, 2, std::nan(""), 3, HUGE_VAL});
  EXPECT_THAT(html, HasSubstr("2 values are not finite and not drawn."));
  EXPECT_THAT(html, HasSubstr("d=\"M800 1000h0L1600 500M3200 0h0\""));
  EXPECT_THAT(Drawn({1, 2}), Not(HasSubstr("not finite")));
}

TEST(LineChart, IsLogarithmicOnlyForLargeRanges) {
  EXPECT_THAT(Drawn({0.01, 1, 1000}), HasSubstr(">100<"));
  EXPECT_THAT(Drawn({0.01, 1, 1000}), HasSubstr(">0.1<"));
  EXPECT_THAT(Drawn({0, 1, 1000}), Not(HasSubstr(">0.1<")));
  EXPECT_THAT(Drawn({0.01, 1, 1000}, Scale::kLinear), Not(HasSubstr(">0.1<")));
}

TEST(LineChart, SmoothsLongRunsOnly) {
  LineChart shorter, longer;
  AddSteps(Waves(19), shorter);
  AddSteps(Waves(20), longer);
  EXPECT_EQ(shorter.series.size(), 1);
  EXPECT_EQ(longer.series.size(), 2);
}

TEST(LineChart, MarksFewPointsWithTheirValues) {
  LineChart chart{.title = "Loss", .last_step = 2000};
  chart.series = {{"a<b", Mark::kPoints, PointsOf({0.5, 0.25})}};
  EXPECT_THAT(ToHtml(chart), HasSubstr("<title>a&lt;b, step 2: 0.25</title>"));
  chart.series[0].points = Waves(2000);
  EXPECT_THAT(ToHtml(chart), Not(HasSubstr(" dot\"")));
}

TEST(LineChart, AnAreaReachesDownToTheAxis) {
  LineChart chart{"Memory", "MiB", 4, Scale::kFromZero};
  chart.series = {{"all", Mark::kArea, {{0, 10}, {4, 10}}, "c1"},
                  {"some", Mark::kArea, {{0, 5}, {2, 5}, {2, 0}, {4, 0}}, "c2"},
                  {"at once", Mark::kEdge, {{0, 8}, {4, 8}}}};
  const std::string html = ToHtml(chart);
  EXPECT_THAT(html, HasSubstr("<path class=\"area c1\" d=\"M0 0h0L4000 0V1000H0Z\"/>"));
  EXPECT_THAT(
      html,
      HasSubstr("<path class=\"area c2\" d=\"M0 500h0L2000 500L2000 1000L4000 1000V1000H0Z\"/>"));
  EXPECT_THAT(html, HasSubstr("<path class=\"edge\" d=\"M0 200h0L4000 200\"/>"));
  EXPECT_THAT(html, HasSubstr("<li class=\"area c2\">some</li>"));
  EXPECT_THAT(html, Not(HasSubstr("dot")));
}

}  // namespace
}  // namespace whipsnake::engine
