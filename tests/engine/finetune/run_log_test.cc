#include "engine/finetune/run_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

// Active layers and bytes stay the same for some steps.
RunLog RandomLog(int64_t layers, int steps) {
  std::mt19937 random(static_cast<uint32_t>(layers));
  RunLog log;
  StepRecord record;
  record.active.resize(layers);
  for (int i = 0; i < steps; ++i) {
    record.step = i + 1;
    record.loss = 1.0 / (i + 1);
    record.examples = 8 + i % 3;
    if (random() % 2 == 0) {
      for (int64_t layer = 0; layer < layers; ++layer) record.active[layer] = random() % 4 == 0;
    }
    if (random() % 2 == 0) record.class_bytes[random() % kTensorClassCount] = random() % 3;
    log.steps.push_back(record);
  }
  log.evaluations = {{.step = 2, .loss = 0.1, .accuracy = 0.5}, {.step = 3, .margin = -1.0}};
  return log;
}

TEST(RunLogTest, ReadsWhatItWrites) {
  for (const int64_t layers : {0, 1, 2, 7, 75, 400}) {
    const RunLog log = RandomLog(layers, 100);
    const auto parsed = ParseRunLog(nlohmann::json::parse(ToJson(log).dump()));
    ASSERT_THAT(parsed, IsOk());
    ASSERT_EQ(parsed->steps.size(), log.steps.size());
    for (size_t i = 0; i < log.steps.size(); ++i) {
      EXPECT_EQ(parsed->steps[i].active, log.steps[i].active) << i;
      EXPECT_EQ(parsed->steps[i].class_bytes, log.steps[i].class_bytes) << i;
      EXPECT_EQ(ToJson(parsed->steps[i]), ToJson(log.steps[i])) << i;
    }
    EXPECT_EQ(ToJson(*parsed), ToJson(log));
  }
}

TEST(RunLogTest, LayersAreLengthsOfRuns) {
  const auto text = [](const std::vector<bool>& active) {
    return ToJson(StepRecord{.active = active}).value("active", "none");
  };
  EXPECT_EQ(text({}), "none");
  EXPECT_EQ(text({false}), "1");
  EXPECT_EQ(text({true}), "0,1");
  EXPECT_EQ(text({true, true, false}), "0,2,1");
  EXPECT_EQ(text({false, false, true, false, false, false, false}), "2,1,4");
}

TEST(RunLogTest, WhatStaysTheSameIsWrittenOnce) {
  RunLog log;
  for (int i = 0; i < 4; ++i) {
    StepRecord& record = log.steps.emplace_back();
    record.active = {i < 2, true};
    record.class_bytes[static_cast<int>(TensorClass::kScan)] = i < 3 ? 7 : 8;
  }
  const nlohmann::json steps = ToJson(log)["steps"];
  EXPECT_EQ(steps[0]["active"], "0,2");
  EXPECT_EQ(steps[0]["class_bytes"], nlohmann::json::parse(R"({"scan": 7})"));
  EXPECT_FALSE(steps[1].contains("active") || steps[1].contains("class_bytes"));
  EXPECT_EQ(steps[2]["active"], "1,1");
  EXPECT_FALSE(steps[2].contains("class_bytes"));
  EXPECT_FALSE(steps[3].contains("active"));
  EXPECT_EQ(steps[3]["class_bytes"], nlohmann::json::parse(R"({"scan": 8})"));
}

// A checkpoint of a version that did not count examples can be continued.
TEST(RunLogTest, ReadsALogWithoutExamples) {
  nlohmann::json log = ToJson(RandomLog(7, 3));
  for (nlohmann::json& step : log["steps"]) step.erase("examples");
  const auto parsed = ParseRunLog(log);
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(parsed->steps.back().examples, 0);
}

TEST(RunLogTest, NamesWhatIsWrong) {
  const nlohmann::json good = ToJson(RandomLog(7, 3));
  const auto parse = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json log = good;
    log["steps"][1][key] = value;
    return ParseRunLog(log);
  };
  const auto fails = [](const char* text) {
    return Fails(absl::StatusCode::kInvalidArgument, text);
  };
  EXPECT_THAT(ParseRunLog(nlohmann::json()), fails("steps: no list seen"));
  EXPECT_THAT(ParseRunLog({{"steps", nlohmann::json::array()}}),
              fails("evaluations: no list seen"));
  EXPECT_THAT(parse("loss", "low"), fails("loss: \"low\" seen"));
  EXPECT_THAT(parse("active", 3), fails("active: 3 seen"));
  for (const char* text : {"", "a", "1,", "1,-1", "1.5", "2000000", "1000000,1"}) {
    EXPECT_THAT(parse("active", text), fails("active: ")) << text;
  }
  EXPECT_THAT(parse("class_bytes", 3), fails("class_bytes: 3 seen"));
  EXPECT_THAT(parse("class_bytes", {{"scan", "many"}}), fails("scan: \"many\" seen"));
}

}  // namespace
}  // namespace whipsnake::engine
