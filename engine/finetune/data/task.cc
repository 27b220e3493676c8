#include "engine/finetune/data/task.h"

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

constexpr Task kTasks[] = {Task::kCausalLm, Task::kClassification, Task::kRegression, Task::kChoice,
                           Task::kDpo};

}  // namespace

std::string_view Name(Task task) {
  switch (task) {
    case Task::kCausalLm:
      return "causal-lm";
    case Task::kClassification:
      return "classification";
    case Task::kRegression:
      return "regression";
    case Task::kChoice:
      return "choice";
    case Task::kDpo:
      return "dpo";
  }
  return "unknown";
}

std::span<const Task> AllTasks() { return kTasks; }

absl::StatusOr<Task> ParseTask(std::string_view name) {
  std::string names;
  for (const Task task : kTasks) {
    if (name == Name(task)) return task;
    absl::StrAppend(&names, names.empty() ? "" : ", ", ToAbsl(Name(task)));
  }
  return InvalidField("task", Quoted(name), names);
}

std::string_view InputField(Task task) { return HasText(task) ? "text" : "prompt"; }

std::string ResponseField(Task task, int64_t i) {
  if (task == Task::kChoice) return absl::StrCat("choices[", i, "]");
  return i == 0 ? "chosen" : "rejected";
}

}  // namespace whipsnake::engine
