#include "engine/finetune/task_config.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/models/architecture.h"
#include "engine/models/config.h"
#include "engine/models/family.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

bool HasClassifierHead(Task task) {
  return task == Task::kClassification || task == Task::kRegression;
}

// The names that transformers gives to labels without any. `count` is at most kMaxLabels.
Labels DefaultLabels(int64_t count) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < count; ++i) names.push_back(absl::StrCat("LABEL_", i));
  return *Labels::Make(std::move(names));
}

absl::StatusOr<Labels> ReadHeadLabels(const json& config, const Family& family) {
  JsonObjectReader reader(config);
  const int64_t count = ReadLabels(reader, family.classifier);
  if (count == 0) return Labels();
  ASSIGN_OR_RETURN(Labels labels, ReadLabels(config));
  if (labels.empty()) return DefaultLabels(count);
  if (labels.size() == count) return labels;
  return InvalidField("id2label", absl::StrCat(labels.size(), " labels"),
                      absl::StrCat("num_labels = ", count));
}

absl::Status CheckCount(Task task, const Labels& labels) {
  if (task == Task::kRegression) {
    if (labels.size() == 1) return absl::OkStatus();
    return InvalidField("labels", labels.Listed(), "one name at most, as regression has one value");
  }
  if (labels.size() >= 2) return absl::OkStatus();
  return InvalidField("labels", labels.empty() ? "none" : labels.Listed(), "at least 2");
}

// Returns the labels of the new model.
absl::StatusOr<Labels> ResultLabels(Task task, const Labels& labels, const Labels& head) {
  Labels result = labels;
  if (task == Task::kRegression && labels.empty()) result = head.empty() ? DefaultLabels(1) : head;
  RETURN_IF_ERROR(CheckCount(task, result));
  if (head.empty() || head.names() == result.names()) return result;
  return InvalidField("labels", result.Listed(),
                      absl::StrCat(head.Listed(), ", the labels of the model's head"));
}

void SetLabels(const Labels& labels, ordered_json& config) {
  ordered_json names = ordered_json::object(), numbers = ordered_json::object();
  for (int64_t i = 0; i < labels.size(); ++i) {
    names[absl::StrCat(i)] = labels.names()[i];
    numbers[labels.names()[i]] = i;
  }
  config["num_labels"] = labels.size();
  config["id2label"] = std::move(names);
  config["label2id"] = std::move(numbers);
}

}  // namespace

absl::StatusOr<Labels> HeadLabels(std::string_view config_json) {
  ASSIGN_OR_RETURN(const ModelConfig config, ParseModelConfig(config_json));
  ASSIGN_OR_RETURN(const json document, ParsePythonJsonObject(config_json));
  return ReadHeadLabels(document, *config.family);
}

absl::StatusOr<std::string> ConfigForTask(std::string_view source, Task task,
                                          const Labels& labels) {
  ASSIGN_OR_RETURN(const ModelConfig model, ParseModelConfig(source));
  ASSIGN_OR_RETURN(const Labels head, HeadLabels(source));
  if (!HasClassifierHead(task)) {
    if (head.empty()) return std::string(source);
    return InvalidField("task", Name(task),
                        absl::StrCat("classification or regression, as the model is a classifier: ",
                                     head.Listed()));
  }
  ASSIGN_OR_RETURN(const Labels result, ResultLabels(task, labels, head));
  auto config = PythonJsonInOrder(source);
  if (!config.contains("model_type")) {
    return InvalidField("model_type", "nothing",
                        absl::StrCat(Quoted(model.family->name),
                                     ": a classifier needs a config in the form of Hugging Face"));
  }
  config["architectures"] = {std::string(model.family->classifier)};
  SetLabels(result, config);
  config["problem_type"] = task == Task::kRegression ? "regression" : "single_label_classification";
  // transformers refuses batches of texts for a classifier without a padding token.
  const std::vector<int32_t>& eos = model.eos_token_ids;
  if (config["pad_token_id"].is_null() && !eos.empty()) config["pad_token_id"] = eos.front();
  return PythonJsonText(std::move(config)) + "\n";
}

}  // namespace whipsnake::engine
