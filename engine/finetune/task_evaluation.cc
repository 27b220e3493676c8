#include "engine/finetune/task_evaluation.h"

#include <memory>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/finetune/data/dataset_report.h"
#include "engine/finetune/task_scorer.h"

namespace whipsnake::engine {
namespace {

absl::Status CannotDo(Task task, const ModelInfo& info, std::string_view expected) {
  const std::string seen = info.labels == 0
                               ? "a language model"
                               : absl::StrCat("a sequence classifier with ", info.labels,
                                              info.labels == 1 ? " output" : " outputs");
  return absl::FailedPreconditionError(absl::StrCat(seen, " seen, expected ", ToAbsl(expected),
                                                    " for the task ", ToAbsl(Name(task))));
}

absl::Status CheckPositions(int64_t max_length, const ModelInfo& info) {
  if (info.max_positions == 0 || max_length <= info.max_positions) return absl::OkStatus();
  return InvalidField("max_length", absl::StrCat(max_length),
                      absl::StrCat("at most the model's ", info.max_positions, " positions"));
}

absl::Status CheckLabels(const Dataset& dataset, const ModelInfo& info) {
  if (dataset.options().task != Task::kClassification || dataset.labels().size() == info.labels) {
    return absl::OkStatus();
  }
  return InvalidField("labels", absl::StrCat(dataset.labels().size(), " labels"),
                      absl::StrCat("the model's ", info.labels));
}

// Checks the model that rewards are relative to.
absl::Status CheckReference(Task task, int64_t max_length, const Model& reference) {
  if (task != Task::kDpo) {
    return InvalidField("reference", "a model",
                        absl::StrCat("none with the task ", ToAbsl(Name(task))));
  }
  absl::Status status = CheckCanDo(task, reference.info());
  status.Update(CheckPositions(max_length, reference.info()));
  return WithContext(status, "the reference model");
}

absl::Status CheckEvaluationOptions(const TaskEvaluationOptions& options) {
  if (options.batch < 1) {
    return InvalidField("batch", absl::StrCat(options.batch), "an integer of at least 1");
  }
  if (!(options.dpo_beta > 0)) {
    return InvalidField("dpo_beta", absl::StrCat(options.dpo_beta), "a number above 0");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Example>> ReadExamples(const Dataset& dataset, int64_t begin,
                                                  int64_t count) {
  std::vector<Example> examples;
  for (int64_t i = begin; i < dataset.size() && i - begin < count; ++i) {
    ASSIGN_OR_RETURN(Example example, dataset.Read(i));
    examples.push_back(std::move(example));
  }
  return examples;
}

}  // namespace

absl::Status CheckCanDo(Task task, const ModelInfo& info) {
  switch (task) {
    case Task::kCausalLm:
      return InvalidField("task", Name(task),
                          "classification, regression, choice or dpo; perplexity judges texts");
    case Task::kClassification:
      if (info.labels >= 2) return absl::OkStatus();
      return CannotDo(task, info,
                      "a classifier of two or more labels, such as `whipsnake train --task "
                      "classification` makes of a language model,");
    case Task::kRegression:
      if (info.labels == 1) return absl::OkStatus();
      return CannotDo(task, info,
                      "a model with one output, such as `whipsnake train --task regression` makes "
                      "of a language model,");
    case Task::kChoice:
    case Task::kDpo:
      if (info.labels == 0) return absl::OkStatus();
      return CannotDo(task, info, "a language model");
  }
  return absl::OkStatus();
}

absl::StatusOr<TaskResult> EvaluateTask(Model& model, Executor& executor, const Dataset& dataset,
                                        const TaskEvaluationOptions& options,
                                        const WorkProgress& progress) {
  const Task task = dataset.options().task;
  const int64_t max_length = dataset.options().max_length;
  RETURN_IF_ERROR(CheckEvaluationOptions(options));
  RETURN_IF_ERROR(CheckCanDo(task, model.info()));
  RETURN_IF_ERROR(CheckPositions(max_length, model.info()));
  if (options.reference != nullptr) {
    RETURN_IF_ERROR(CheckReference(task, max_length, *options.reference));
  }
  RETURN_IF_ERROR(Check(dataset.report()));
  RETURN_IF_ERROR(CheckLabels(dataset, model.info()));

  const std::unique_ptr<TaskScorer> scorer = MakeTaskScorer(task, model, executor, options);
  TaskResult result;
  while (result.examples < dataset.size()) {
    ASSIGN_OR_RETURN(const std::vector<Example> examples,
                     ReadExamples(dataset, result.examples, options.batch));
    RETURN_IF_ERROR(scorer->Add(examples));
    result.examples += std::ssize(examples);
    for (const Example& example : examples) result.tokens += example.tokens();
    if (progress) {
      RETURN_IF_ERROR(progress("Evaluating", static_cast<double>(result.examples) /
                                                 static_cast<double>(dataset.size())));
    }
  }
  scorer->SetScores(result);
  return result;
}

}  // namespace whipsnake::engine
