#include "engine/quantize/percentile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace whipsnake::engine {
namespace {

TEST(Quantiles, InterpolateBetweenNeighbours) {
  // Sorted 1 2 3 4 6; the positions are 0.5 * 4 = 2, 0.9 * 4 = 3.6 and the last.
  std::vector<float> values = {6, 1, 4, 2, 3};
  EXPECT_THAT(Quantiles(values, std::vector<double>{0.5, 0.9, 1}),
              testing::ElementsAre(3.0f, testing::FloatEq(4 + 0.6f * 2), 6.0f));
}

TEST(Quantiles, OfOneValueAreIt) {
  std::vector<float> values = {7};
  EXPECT_THAT(Quantiles(values, std::vector<double>{0.1, 0.9995, 1}), testing::Each(7.0f));
}

TEST(Quantiles, EqualThoseOfSortedValues) {
  std::mt19937 random(1);
  for (const int64_t n : {2, 3, 10, 1000, 99991}) {
    std::vector<float> values(n);
    for (float& value : values) value = static_cast<float>(random() % 1000);
    std::vector<float> sorted = values;
    std::ranges::sort(sorted);
    const std::vector<double> alphas = {0.25, 0.9995, 0.9999, 0.99999, 1};
    const std::vector<float> quantiles = Quantiles(values, alphas);
    for (size_t i = 0; i < alphas.size(); ++i) {
      const double place = alphas[i] * (n - 1);
      const int64_t below = static_cast<int64_t>(place);
      const double above = sorted[std::min(below + 1, n - 1)];
      EXPECT_FLOAT_EQ(quantiles[i], sorted[below] + (place - below) * (above - sorted[below]));
    }
  }
}

TEST(PercentileObserver, AveragesSamplesWithAWeightOfAHundredth) {
  PercentileObserver observer({0.5});
  EXPECT_EQ(observer.mean(0), 0);
  for (const float sample : {10.0f, 20.0f, 110.0f}) {
    std::vector<float> values = {sample, 0, 1000};
    observer.Observe(values);
  }
  // 10, then 10 + 0.01 * 10 = 10.1, then 10.1 + 0.01 * 99.9 = 11.099.
  EXPECT_FLOAT_EQ(observer.mean(0), 11.099f);
}

}  // namespace
}  // namespace whipsnake::engine
