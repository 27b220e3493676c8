// How well a model does a task, on a data set.
//
// Runs models as they are served (models/model.h), so that float and quantized ones are judged
// alike. Losses are those of objective.h, without smoothing:
//
//   classification  the label with the largest output; loss -log p(label)
//   regression      loss (output - value)²
//   choice          the choice with the largest mean log p per token, without the prompt's; loss
//                   that of a softmax over these means
//   dpo             which response has the larger s, the sum of log p over its tokens. With a
//                   reference model, which has the larger reward β (s - s_ref); loss
//                   -log σ(reward of chosen - reward of rejected)
#ifndef WHIPSNAKE_ENGINE_FINETUNE_TASK_EVALUATION_H_
#define WHIPSNAKE_ENGINE_FINETUNE_TASK_EVALUATION_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/executor.h"
#include "engine/base/progress.h"
#include "engine/evaluate/sequence_logits.h"
#include "engine/finetune/confusion.h"
#include "engine/finetune/data/dataset.h"
#include "engine/finetune/data/task.h"
#include "engine/finetune/regression_errors.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

struct TaskEvaluationOptions {
  // Tokenizer::size() of the models' tokenizer. Columns of the logits beyond it are padding and
  // have no probability. 0 means that the models have no padding.
  int64_t tokenizer_size = 0;
  // Examples that are in memory and run at once, at least 1. The result depends on it only through
  // the rounding of float products.
  int64_t batch = 8;
  int64_t max_logits_bytes = kDefaultLogitsBytes;  // of one forward pass
  // kDpo: the model that the rewards are relative to, on the same executor; may be null.
  Model* reference = nullptr;
  double dpo_beta = 0.1;  // β, above 0
  // Priority of the sums over the logits; the model has its own.
  Priority priority = Priority::kPrefill;
};

// Means over pairs of responses.
struct Preferences {
  struct Pair {
    double chosen = 0, rejected = 0;
  };
  Pair log_probabilities;       // s
  std::optional<Pair> rewards;  // with a reference model
};

struct TaskResult {
  int64_t examples = 0;
  int64_t tokens = 0;              // of all sequences
  std::optional<double> loss;      // the mean over examples; none for kDpo without a reference
  std::optional<double> accuracy;  // the share of right answers; none for kRegression

  std::optional<Confusion> confusion;      // kClassification
  std::optional<RegressionErrors> errors;  // kRegression
  std::optional<Preferences> preferences;  // kDpo
};

// Returns FAILED_PRECONDITION, with what to do, unless a model of this kind can do the task, and
// INVALID_ARGUMENT for kCausalLm, which EvaluatePerplexity judges.
absl::Status CheckCanDo(Task task, const ModelInfo& info);

// Evaluates `model`, which runs on `executor`, on all rows of a data set. `progress`, which may be
// null, is called on the calling thread. Errors: those of CheckCanDo; INVALID_ARGUMENT if a row is
// bad or there is none, if the data set's labels are not as many as the model's, if its max_length
// exceeds the model's positions, if a token is unknown, or for an option out of range; INTERNAL if
// outputs are not finite; those of Dataset::Read, of Model::Forward and of `progress`.
absl::StatusOr<TaskResult> EvaluateTask(Model& model, Executor& executor, const Dataset& dataset,
                                        const TaskEvaluationOptions& options,
                                        const WorkProgress& progress = nullptr);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_TASK_EVALUATION_H_
