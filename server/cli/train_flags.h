// The options of `whipsnake train`.
#ifndef WHIPSNAKE_SERVER_CLI_TRAIN_FLAGS_H_
#define WHIPSNAKE_SERVER_CLI_TRAIN_FLAGS_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/finetune/fine_tuning_spec.h"
#include "server/cli/command.h"
#include "server/cli/training_flags.h"

namespace whipsnake::server {

// Options that are not given are unset: they then have the value of --config, or the default.
struct TrainFlags {
  TrainingFlags training;
  std::string config;
  std::optional<std::string> model, task, train, eval, out, checkpoints, label_column;
  bool no_header = false, resume = false;
};

void AddTrainFlags(Command command, TrainFlags& flags);

// Returns the settings of --config with those of the other options in their place. Errors as from
// ParseFineTuningSpec, with the fields named as options if there is no --config.
absl::StatusOr<engine::FineTuningSpec> MakeSpec(const TrainFlags& flags);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_TRAIN_FLAGS_H_
