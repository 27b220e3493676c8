// Learning rates, patterns of names, and the JSON form of a job.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/finetune/fine_tuning_spec.h"
#include "engine/finetune/learning_rate.h"
#include "engine/finetune/name_pattern.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

TEST(LearningRateTest, RisesInTheWarmUpAndFallsToZero) {
  for (const Schedule schedule : {Schedule::kLinear, Schedule::kCosine}) {
    const LearningRate rate{schedule, 2.0, 4, 20};
    EXPECT_DOUBLE_EQ(rate.At(0), 0.5);
    EXPECT_DOUBLE_EQ(rate.At(3), 2.0);
    EXPECT_DOUBLE_EQ(rate.At(4), 2.0);
    EXPECT_NEAR(rate.At(12), 1.0, 1e-12);  // half of the steps after the warm-up
    for (int64_t step = 5; step < 20; ++step) EXPECT_LT(rate.At(step), rate.At(step - 1));
    EXPECT_GT(rate.At(19), 0);
  }
  const LearningRate constant{Schedule::kConstant, 2.0, 0, 20};
  EXPECT_EQ(constant.At(0), 2.0);
  EXPECT_EQ(constant.At(19), 2.0);
}

TEST(LearningRateTest, ARunOfOneStepHasARate) {
  EXPECT_EQ((LearningRate{Schedule::kLinear, 2.0, 0, 1}).At(0), 2.0);
  EXPECT_EQ((LearningRate{Schedule::kLinear, 2.0, 1, 1}).At(0), 2.0);
}

TEST(NamePatternTest, StarsStandForAnyText) {
  for (const char* pattern : {"a.b.c", "*", "a.*", "*.c", "a*c", "*b*", "a.b.c*", "**a**c**"}) {
    EXPECT_TRUE(MatchesPattern(pattern, "a.b.c")) << pattern;
  }
  for (const char* pattern : {"", "a", "a.b", "b*", "*b", "a.b.c.d", "*d*", "a*d", "a.b.c*c"}) {
    EXPECT_FALSE(MatchesPattern(pattern, "a.b.c")) << pattern;
  }
  EXPECT_TRUE(MatchesPattern("", ""));
  std::string stars;
  for (int i = 0; i < 1000; ++i) stars += "*a";
  EXPECT_FALSE(MatchesPattern(stars + "b", std::string(2000, 'a')));
}

TEST(FineTuningSpecTest, ReadsWhatItWrites) {
  TrainingOptions options;
  options.task = Task::kDpo;
  options.learning_rate = 3e-4;
  options.optimizer.groups = {{"*.bias", 2, 0.25}};
  options.optimizer.moments = MomentKind::k8Bit;
  options.arithmetic = kernels::DType::kBF16;
  options.dropout = 0.25f;
  options.freeze = {"*wte*"};
  options.seed = 12345;
  json object = ToJson(options);
  object["model"] = "m";
  object["train"] = "t";
  const auto spec = ParseFineTuningSpec(object);
  ASSERT_THAT(spec, IsOk());
  EXPECT_EQ(ToJson(spec->training), ToJson(options));
  EXPECT_EQ(spec->model, "m");
}

TEST(FineTuningSpecTest, NamesWhatIsWrong) {
  const auto parse = [](json changes) {
    json object = {{"model", "m"}, {"train", "t"}};
    object.update(changes);
    return ParseFineTuningSpec(object);
  };
  EXPECT_THAT(parse(json::object()), IsOk());
  const auto fails = [](const char* text) {
    return Fails(absl::StatusCode::kInvalidArgument, text);
  };
  EXPECT_THAT(parse({{"learning_rate", 1}}), fails("\"learning_rate\": unknown setting"));
  EXPECT_THAT(parse({{"lr", "fast"}}), fails("lr"));
  EXPECT_THAT(parse({{"lr", 0}}), fails("lr: 0 seen"));
  EXPECT_THAT(parse({{"lr", -1}}), fails("lr: -1 seen"));
  EXPECT_THAT(parse({{"batch", 0}}), fails("batch: 0 seen"));
  EXPECT_THAT(parse({{"batch", 4}, {"micro_batch", 5}}), fails("micro_batch: 5 seen"));
  EXPECT_THAT(parse({{"task", "choice"}}), fails("task"));
  EXPECT_THAT(parse({{"optimizer", "adam"}}), fails("optimizer"));
  EXPECT_THAT(parse({{"moments", "4bit"}}), fails("moments: \"4bit\" seen, expected keep, 8bit"));
  EXPECT_THAT(parse({{"optimizer", "sgd"}, {"moments", "8bit"}}), fails("moments: 8bit seen"));
  EXPECT_THAT(parse({{"precision", "fp16"}}), fails("fp16"));
  EXPECT_THAT(parse({{"update_in_backward", true}, {"max_gradient_norm", 1}}),
              fails("max_gradient_norm: 1 seen"));
  EXPECT_THAT(parse({{"groups", json::array({{{"pattern", "*"}, {"factor", 2}}})}}),
              fails("factor"));
  EXPECT_THAT(parse({{"model", ""}}), fails("model"));
}

}  // namespace
}  // namespace whipsnake::engine
