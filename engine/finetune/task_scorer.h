// The part of an evaluation that differs between tasks.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_TASK_SCORER_H_
#define WHIPSNAKE_ENGINE_FINETUNE_TASK_SCORER_H_

#include <memory>
#include <span>

#include "absl/status/status.h"
#include "engine/base/executor.h"
#include "engine/finetune/data/examples.h"
#include "engine/finetune/data/task.h"
#include "engine/finetune/task_evaluation.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

// Not thread-safe.
class TaskScorer {
 public:
  virtual ~TaskScorer() = default;

  // Runs the model on some examples. Errors as from EvaluateTask.
  virtual absl::Status Add(std::span<const Example> examples) = 0;
  // Sets what is known of the examples so far, of which there is at least one, but their number and
  // that of their tokens.
  virtual void SetScores(TaskResult& result) const = 0;
};

// The model must be one that CheckCanDo accepts for the task. The labels of all examples must be
// below the model's outputs, or their choices. Everything must outlive the scorer.
std::unique_ptr<TaskScorer> MakeTaskScorer(Task task, Model& model, Executor& executor,
                                           const TaskEvaluationOptions& options);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_TASK_SCORER_H_
