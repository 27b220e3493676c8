// What a model is fine-tuned for.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_TASK_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_TASK_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

// The fields of a row of each task's data set.
enum class Task {
  kCausalLm,        // {"text"}: predict each token from those before it
  kClassification,  // {"text", "label": a string or an integer}
  kRegression,      // {"text", "label": a number}
  kChoice,          // {"prompt", "choices": [two or more texts], "label": index of the right one}
  kDpo,             // {"prompt", "chosen", "rejected"}: direct preference optimization
};

// "causal-lm", "classification", "regression", "choice", "dpo".
std::string_view Name(Task task);
// Returns INVALID_ARGUMENT, naming the known tasks, if `name` is unknown.
absl::StatusOr<Task> ParseTask(std::string_view name);
std::span<const Task> AllTasks();

// Whether a row is one text, not a prompt with responses.
inline bool HasText(Task task) { return task <= Task::kRegression; }

// The names of the fields that hold a row's text or prompt and its i-th response: "text", or
// "prompt" with "choices[1]" or "chosen" and "rejected".
std::string_view InputField(Task task);
std::string ResponseField(Task task, int64_t i);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_TASK_H_
