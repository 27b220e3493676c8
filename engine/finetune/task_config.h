// The config.json of a model that is fine-tuned for a task, known before training.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_TASK_CONFIG_H_
#define WHIPSNAKE_ENGINE_FINETUNE_TASK_CONFIG_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/finetune/data/labels.h"
#include "engine/finetune/data/task.h"

namespace whipsnake::engine {

// Returns the labels of a classifier's or regressor's head, by default "LABEL_0", "LABEL_1", ...;
// no labels for a language model. Errors as from ParseModelConfig() and ReadLabels().
absl::StatusOr<Labels> HeadLabels(std::string_view config_json);

// Returns the config.json of the model that the task makes of a model with the config `source`.
//   - Language models: the same text.
//   - Classification: that of a sequence classifier with these labels.
//   - Regression: that of a sequence classifier with one output. `labels` has its name, or none,
//     which keeps the head's name or takes the default.
// Returns INVALID_ARGUMENT, naming the field:
//   - task: for a language task and a model that is a classifier.
//   - labels: unless classification has 2 or more and regression at most 1, and if they are not
//     those of the model's head, if it has one.
//   - model_type: for a classifier and a config in the original form of Mamba.
// Other errors as from ParseModelConfig().
absl::StatusOr<std::string> ConfigForTask(std::string_view source, Task task, const Labels& labels);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_TASK_CONFIG_H_
