// The scores of classifiers and regressions, and what a model directory says of its data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <numeric>
#include <random>
#include <vector>

#include "engine/finetune/confusion.h"
#include "engine/finetune/model_data.h"
#include "engine/finetune/regression_errors.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using Code = absl::StatusCode;

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

TEST(ModelData, LabelsAreThoseOfTheConfigOrNumbers) {
  const TemporaryDirectory directory;
  EXPECT_THAT(ReadModelLabels(directory.path(), 2), Fails(Code::kNotFound, "config.json"));
  WriteBytes(directory / "config.json", R"({"num_labels": 2})");
  EXPECT_THAT(ReadModelLabels(directory.path(), 2)->names(), ElementsAre("LABEL_0", "LABEL_1"));
  WriteBytes(directory / "config.json", R"({"id2label": {"0": "bad", "1": "good"}})");
  EXPECT_THAT(ReadModelLabels(directory.path(), 2)->names(), ElementsAre("bad", "good"));
  EXPECT_THAT(ReadModelLabels(directory.path(), 3),
              Fails(Code::kInvalidArgument, "id2label: 2 labels seen"));
  WriteBytes(directory / "config.json", R"({"id2label": {"0": "bad", "1": "bad"}})");
  EXPECT_THAT(ReadModelLabels(directory.path(), 2), Fails(Code::kInvalidArgument, "config.json"));
  WriteBytes(directory / "config.json", "{");
  EXPECT_THAT(ReadModelLabels(directory.path(), 2), Fails(Code::kInvalidArgument, "config.json"));
}

TEST(ModelData, EndOfTextIsThatOfGenerationOrOfTheConfig) {
  const TemporaryDirectory directory;
  EXPECT_THAT(ReadEndOfText(directory.path()), Fails(Code::kNotFound, "config.json"));
  WriteBytes(directory / "config.json", R"({"model_type": "gpt2", "eos_token_id": 7})");
  EXPECT_EQ(*ReadEndOfText(directory.path()), 7);
  WriteBytes(directory / "generation_config.json", R"({"top_k": 3})");
  EXPECT_EQ(*ReadEndOfText(directory.path()), 7);
  WriteBytes(directory / "generation_config.json", R"({"eos_token_id": [3, 4]})");
  EXPECT_EQ(*ReadEndOfText(directory.path()), 3);
  WriteBytes(directory / "generation_config.json", R"({"eos_token_id": -3})");
  EXPECT_THAT(ReadEndOfText(directory.path()),
              Fails(Code::kInvalidArgument, "generation_config.json"));
}

}  // namespace
}  // namespace whipsnake::engine
