#include "engine/finetune/task_config.h"

#include <nlohmann/json.hpp>

#include "engine/models/config.h"
#include "engine/models/gpt2/gpt2_config.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

using Code = absl::StatusCode;
using nlohmann::json;
using testing::ElementsAre;

Labels Make(std::vector<std::string> names) { return *Labels::Make(std::move(names)); }

// The config of a small GPT-2 with these keys changed.
std::string Config(const json& changes = json::object()) {
  json config = {{"architectures", {"GPT2LMHeadModel"}},
                 {"model_type", "gpt2"},
                 {"vocab_size", 96},
                 {"n_positions", 64},
                 {"n_embd", 16},
                 {"n_layer", 2},
                 {"n_head", 2},
                 {"eos_token_id", 5},
                 {"unknown", {{"kept", true}}}};
  config.merge_patch(changes);
  return config.dump();
}

std::string Classifier(const json& changes) {
  json all = changes;
  all["architectures"] = {"GPT2ForSequenceClassification"};
  return Config(all);
}

TEST(TaskConfig, OfALanguageModelStays) {
  for (const Task task : {Task::kCausalLm, Task::kDpo}) {
    EXPECT_EQ(*ConfigForTask(Config(), task, {}), Config());
  }
}

TEST(TaskConfig, OfAClassifierHasItsLabels) {
  const auto text = ConfigForTask(Config(), Task::kClassification, Make({"noun", "verb", "né"}));
  ASSERT_THAT(text, IsOk());
  json expected = json::parse(Config());
  expected["architectures"] = {"GPT2ForSequenceClassification"};
  expected["num_labels"] = 3;
  expected["id2label"] = {{"0", "noun"}, {"1", "verb"}, {"2", "né"}};
  expected["label2id"] = {{"noun", 0}, {"verb", 1}, {"né", 2}};
  expected["problem_type"] = "single_label_classification";
  expected["pad_token_id"] = 5;
  EXPECT_EQ(json::parse(*text), expected);
  EXPECT_EQ(ParseModelConfig(*text)->As<Gpt2Config>().labels, 3);
  EXPECT_THAT(HeadLabels(*text)->names(), ElementsAre("noun", "verb", "né"));
}

TEST(TaskConfig, OfARegressorHasOneOutput) {
  const auto text = ConfigForTask(Config({{"pad_token_id", 7}}), Task::kRegression, {});
  ASSERT_THAT(text, IsOk());
  const json config = json::parse(*text);
  EXPECT_EQ(config["num_labels"], 1);
  EXPECT_EQ(config["problem_type"], "regression");
  EXPECT_EQ(config["pad_token_id"], 7);
  EXPECT_THAT(HeadLabels(*text)->names(), ElementsAre("LABEL_0"));
  const auto named = ConfigForTask(Config(), Task::kRegression, Make({"stars"}));
  EXPECT_THAT(HeadLabels(*named)->names(), ElementsAre("stars"));
  const auto again = ConfigForTask(*named, Task::kRegression, {});
  EXPECT_THAT(HeadLabels(*again)->names(), ElementsAre("stars"));
}

TEST(TaskConfig, OfMambaIsThatOfItsClassifier) {
  const json mamba = {{"model_type", "mamba"}, {"vocab_size", 64},       {"hidden_size", 16},
                      {"state_size", 4},       {"num_hidden_layers", 1}, {"eos_token_id", 3}};
  const auto text = ConfigForTask(mamba.dump(), Task::kClassification, Make({"a", "b"}));
  ASSERT_THAT(text, IsOk());
  EXPECT_THAT(json::parse(*text)["architectures"], ElementsAre("MambaForSequenceClassification"));
  EXPECT_THAT(HeadLabels(*text)->names(), ElementsAre("a", "b"));
  EXPECT_THAT(ConfigForTask(R"({"d_model": 16, "n_layer": 1, "vocab_size": 64})",
                            Task::kClassification, Make({"a", "b"})),
              Fails(Code::kInvalidArgument, "model_type: nothing seen, expected \"mamba\""));
}

TEST(TaskConfig, KeepsTheLabelsOfAHead) {
  const std::string named = Classifier({{"id2label", {{"0", "a"}, {"1", "b"}}}});
  EXPECT_THAT(ConfigForTask(named, Task::kClassification, Make({"a", "b"})), IsOk());
  EXPECT_THAT(ConfigForTask(named, Task::kClassification, Make({"b", "c"})),
              Fails(Code::kInvalidArgument,
                    R"(labels: "b", "c" seen, expected "a", "b", the labels of the model's head)"));
  EXPECT_THAT(ConfigForTask(named, Task::kRegression, {}),
              Fails(Code::kInvalidArgument, R"(labels: "a", "b" seen, expected one name at most)"));
  EXPECT_THAT(ConfigForTask(named, Task::kCausalLm, {}),
              Fails(Code::kInvalidArgument, "task: causal-lm seen, expected classification"));
}

TEST(TaskConfig, ReadsTheLabelsOfAHead) {
  EXPECT_THAT(HeadLabels(Classifier({{"num_labels", 3}}))->names(),
              ElementsAre("LABEL_0", "LABEL_1", "LABEL_2"));
  EXPECT_TRUE(HeadLabels(Config({{"id2label", {{"0", "LABEL_0"}, {"1", "LABEL_1"}}}}))->empty())
      << "which transformers writes for language models too";
  EXPECT_THAT(HeadLabels(Classifier({{"num_labels", 3}, {"id2label", {{"0", "a"}}}})),
              Fails(Code::kInvalidArgument, "id2label: 1 labels seen, expected num_labels = 3"));
  EXPECT_THAT(HeadLabels("{"), Fails(Code::kInvalidArgument, "malformed JSON"));
}

TEST(TaskConfig, RefusesLabelsThatDoNotFitTheTask) {
  EXPECT_THAT(ConfigForTask(Config(), Task::kClassification, {}),
              Fails(Code::kInvalidArgument, "labels: none seen, expected at least 2"));
  EXPECT_THAT(ConfigForTask(Config(), Task::kClassification, Make({"a"})),
              Fails(Code::kInvalidArgument, "labels: \"a\" seen, expected at least 2"));
  EXPECT_THAT(ConfigForTask(Config(), Task::kRegression, Make({"a", "b"})),
              Fails(Code::kInvalidArgument, "labels: \"a\", \"b\" seen, expected one name"));
}

}  // namespace
}  // namespace whipsnake::engine
