// The scores of classifiers and regressions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "engine/finetune/confusion.h"
#include "engine/finetune/regression_errors.h"

namespace whipsnake::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(Confusion, CountsByLabelAndPrediction) {
  Confusion confusion(4);
  for (const auto& [label, prediction] : std::vector<std::pair<int, int>>{
           {0, 0}, {0, 0}, {0, 1}, {1, 1}, {1, 0}, {1, 0}, {2, 2}, {2, 0}}) {
    confusion.Add(label, prediction);
  }
  EXPECT_EQ(confusion.rows(), 8);
  EXPECT_DOUBLE_EQ(confusion.Accuracy(), 4.0 / 8);
  EXPECT_THAT(confusion.entries(),
              ElementsAre(Pair(Pair(0, 0), 2), Pair(Pair(0, 1), 1), Pair(Pair(1, 0), 2),
                          Pair(Pair(1, 1), 1), Pair(Pair(2, 0), 1), Pair(Pair(2, 2), 1)));
  const LabelCounts& first = confusion.labels()[0];
  EXPECT_DOUBLE_EQ(first.Precision(), 2.0 / 5);
  EXPECT_DOUBLE_EQ(first.Recall(), 2.0 / 3);
  EXPECT_DOUBLE_EQ(first.F1(), 2 * (2.0 / 5) * (2.0 / 3) / (2.0 / 5 + 2.0 / 3));
  EXPECT_DOUBLE_EQ(confusion.labels()[3].F1(), 0) << "neither seen nor predicted";
  // 0.5, 0.4 and 2/3; label 3 does not count.
  EXPECT_DOUBLE_EQ(confusion.MacroF1(), (0.5 + 0.4 + 2.0 / 3) / 3);
}

TEST(Confusion, OfNothingHasNoShares) {
  const Confusion confusion(2);
  EXPECT_EQ(confusion.Accuracy(), 0);
  EXPECT_EQ(confusion.MacroF1(), 0);
  EXPECT_EQ(confusion.labels()[1].Precision(), 0);
}

// The definitions, in two passes.
double PlainCorrelation(const std::vector<double>& x, const std::vector<double>& y) {
  const auto n = static_cast<double>(x.size());
  const double mx = std::accumulate(x.begin(), x.end(), 0.0) / n;
  const double my = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mx) * (x[i] - mx);
    yy += (y[i] - my) * (y[i] - my);
    xy += (x[i] - mx) * (y[i] - my);
  }
  return xy / std::sqrt(xx * yy);
}

// Also far from 0, where a formula of sums of squares would lose all digits.
TEST(RegressionErrors, AreThoseOfTheirDefinitions) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  for (const double offset : {0.0, 1e8}) {
    std::vector<double> outputs, targets;
    RegressionErrors errors;
    double squares = 0, absolutes = 0;
    for (int i = 0; i < 1000; ++i) {
      targets.push_back(offset + normal(random));
      outputs.push_back(targets.back() + 0.5 * normal(random));
      errors.Add(outputs.back(), targets.back());
      squares += std::pow(outputs.back() - targets.back(), 2) / 1000;
      absolutes += std::abs(outputs.back() - targets.back()) / 1000;
    }
    EXPECT_NEAR(errors.MeanSquaredError(), squares, 1e-12);
    EXPECT_NEAR(errors.MeanAbsoluteError(), absolutes, 1e-12);
    ASSERT_TRUE(errors.Correlation());
    EXPECT_NEAR(*errors.Correlation(), PlainCorrelation(outputs, targets), 1e-6);
    EXPECT_GT(*errors.Correlation(), 0.8);
  }
}

TEST(RegressionErrors, HaveNoCorrelationWithAConstant) {
  RegressionErrors outputs, targets, falling;
  EXPECT_FALSE(outputs.Correlation());
  EXPECT_EQ(outputs.MeanSquaredError(), 0);
  for (const double x : {1.0, 2.0, 4.0}) {
    outputs.Add(3, x);
    targets.Add(x, 3);
    falling.Add(x, -2 * x);
  }
  EXPECT_FALSE(outputs.Correlation());
  EXPECT_FALSE(targets.Correlation());
  EXPECT_DOUBLE_EQ(*falling.Correlation(), -1);
}

}  // namespace
}  // namespace whipsnake::engine
