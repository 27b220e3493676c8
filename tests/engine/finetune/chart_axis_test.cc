#include "engine/finetune/report/chart_axis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace whipsnake::engine {
namespace {

using testing::ElementsAre;

std::vector<std::string> LabelsOfTicks(const Axis& axis) {
  std::vector<std::string> labels;
  for (const Axis::Tick& tick : axis.ticks()) labels.push_back(tick.label);
  return labels;
}

TEST(Axis, HasRoundTicks) {
  EXPECT_THAT(LabelsOfTicks(Axis::Linear(0.71, 0.83)), ElementsAre("0.70", "0.75", "0.80", "0.85"));
  EXPECT_THAT(LabelsOfTicks(Axis::Linear(-3, 12)), ElementsAre("−5", "0", "5", "10", "15"));
  EXPECT_THAT(LabelsOfTicks(Axis::Linear(0, 5e-5)),
              ElementsAre("0", "1×10⁻⁵", "2×10⁻⁵", "3×10⁻⁵", "4×10⁻⁵", "5×10⁻⁵"));
  EXPECT_THAT(LabelsOfTicks(Axis::Linear(0, 1.3e-4)),
              ElementsAre("0", "0.5×10⁻⁴", "1.0×10⁻⁴", "1.5×10⁻⁴"));
  EXPECT_THAT(LabelsOfTicks(Axis::Linear(0, 4100)),
              ElementsAre("0", "1,000", "2,000", "3,000", "4,000", "5,000"));
}

TEST(Axis, OfStepsEndsAtTheLastStep) {
  EXPECT_THAT(LabelsOfTicks(Axis::OfSteps(1)), ElementsAre("0", "1"));
  EXPECT_THAT(LabelsOfTicks(Axis::OfSteps(300)), ElementsAre("0", "100", "200", "300"));
  EXPECT_THAT(LabelsOfTicks(Axis::OfSteps(1605)), ElementsAre("0", "500", "1,000", "1,500"));
  EXPECT_THAT(LabelsOfTicks(Axis::OfSteps(1'000'000)),
              ElementsAre("0", "200 k", "400 k", "600 k", "800 k", "1 M"));
  EXPECT_EQ(Axis::OfSteps(1605).Position(1605), 1);
}

TEST(Axis, IsLogarithmicOverDecades) {
  const Axis axis = Axis::Logarithmic(0.03, 8);
  EXPECT_THAT(LabelsOfTicks(axis), ElementsAre("0.01", "0.1", "1", "10"));
  EXPECT_NEAR(axis.Position(0.1), 1.0 / 3, 1e-12);
  EXPECT_THAT(LabelsOfTicks(Axis::Logarithmic(1, 100)),
              ElementsAre("1", "2", "5", "10", "20", "50", "100"));
  EXPECT_LE(Axis::Logarithmic(1e-90, 1e90).ticks().size(), 8);
}

TEST(Axis, HoldsItsNumbers) {
  const double numbers[] = {-kLargestDrawn, -3e7, -1, -1e-99,    0,   1e-320,
                            1e-99,          0.1,  1,  1 + 1e-12, 7e9, kLargestDrawn};
  for (const double low : numbers) {
    for (const double high : numbers) {
      if (low > high) continue;
      const Axis axis = Axis::Linear(low, high);
      EXPECT_GE(axis.Position(low), -1e-9) << low << " " << high;
      EXPECT_LE(axis.Position(high), 1 + 1e-9) << low << " " << high;
      EXPECT_GE(axis.ticks().size(), 2) << low << " " << high;
      EXPECT_LE(axis.ticks().size(), 8) << low << " " << high;
    }
  }
}

}  // namespace
}  // namespace whipsnake::engine
