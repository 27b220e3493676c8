#include "server/cli/finetune_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/base/status.h"
#include "server/json_message.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// Every setting that an option can have, with values that go together.
JobSettingsFlags AllFlags() {
  JobSettingsFlags flags;
  flags.model = "demo";
  flags.task = "causal-lm";
  flags.train = "texts";
  flags.eval = "held-out";
  TrainingFlags& training = flags.training;
  training.out_type = "bf16";
  training.schedule = "cosine";
  training.optimizer = "adamw";
  training.moments = "8bit";
  training.precision = "bf16";
  training.compression = "8bit";
  training.memory_budget = "2GB";
  training.epochs = 2.5;
  training.lr = 1e-4;
  training.warmup = 0.1;
  training.max_gradient_norm = 0;
  training.dropout = 0.2;
  training.label_smoothing = 0.1;
  training.dpo_beta = 0.3;
  training.weight_decay = 0.02;
  training.beta1 = 0.8;
  training.beta2 = 0.99;
  training.adam_epsilon = 1e-6;
  training.momentum = 0.5;
  training.crrelu_epsilon_factor = 2;
  training.max_steps = 100;
  training.batch = 4;
  training.micro_batch = 2;
  training.max_length = 64;
  training.seed = 7;
  training.evaluate_every = 10;
  training.patience = 3;
  training.checkpoint_every = 20;
  training.keep_checkpoints = 4;
  training.freeze = {"transformer.wte.*"};
  training.groups = {"*.bias=0.5,0", "*.weight=2"};
  training.unpacked = training.checkpointing = training.update_in_backward = true;
  training.freezing.scheduler = "slimfit";
  training.freezing.recipe = "default";
  training.freezing.freezing_rate = 0.8;
  training.freezing.freezing_unit = "layers";
  training.freezing.score = "distance";
  training.freezing.refresh_at_zero_rate = "true";
  training.freezing.legacy_drift = "false";
  training.freezing.train_biases = "true";
  return flags;
}

TEST(MakeJobSpec, EveryOptionBecomesAField) {
  const JobSettingsFlags flags = AllFlags();
  const auto spec = MakeJobSpec(flags);
  ASSERT_TRUE(spec.ok()) << spec.status();
  json expected = json::object();
  ASSERT_TRUE(SetTraining(flags.training, expected).ok());
  for (const auto& [key, value] : {std::pair("model", flags.model),
                                   {"task", flags.task},
                                   {"train", flags.train},
                                   {"eval", flags.eval}}) {
    expected[key] = *value;
  }
  expected["memory_budget"] = 2'000'000'000;
  EXPECT_EQ(MessageToJson(*spec), expected);
}

TEST(MakeJobSpec, OptionsTakePrecedenceOverTheFile) {
  JobSettingsFlags flags;
  flags.config = testing::TempDir() + "/job.json";
  std::ofstream(flags.config) << R"({"model": "demo", "train": "texts", "lr": 1, "batch": 3})";
  flags.training.lr = 0.5;
  flags.train = "others";
  const auto spec = MakeJobSpec(flags);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(MessageToJson(*spec),
            json::parse(R"({"model": "demo", "train": "others", "lr": 0.5, "batch": 3})"));
}

TEST(MakeJobSpec, NamesOptionsInErrors) {
  JobSettingsFlags flags;
  flags.model = "demo";
  EXPECT_THAT(std::string(MakeJobSpec(flags).status().message()), HasSubstr("--train: nothing"));
  flags.train = "texts";
  flags.training.batch = 2;
  flags.training.micro_batch = 3;
  EXPECT_THAT(std::string(MakeJobSpec(flags).status().message()), HasSubstr("--micro-batch: 3"));
}

TEST(ParseJobSpec, RefusesWhatAMessageWouldLose) {
  for (const auto& [key, value] : std::initializer_list<std::pair<const char*, json>>{
           {"learning_rate", 1},
           {"out", "here"},
           {"resume", true},
           {"header", false},
           {"max_steps", "6"},
           {"lr", "fast"},
           {"packed", 1},
           {"freeze", "x"},
           {"groups", json::array({{{"patern", "x"}}})}}) {
    json settings = {{"model", "demo"}, {"train", "texts"}};
    settings[key] = value;
    const absl::Status status = ParseJobSpec(settings).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << key << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(key));
  }
}

}  // namespace
}  // namespace whipsnake::server
