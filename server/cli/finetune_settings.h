// The settings of a fine-tuning job as options and files.
#ifndef WHIPSNAKE_SERVER_CLI_FINETUNE_SETTINGS_H_
#define WHIPSNAKE_SERVER_CLI_FINETUNE_SETTINGS_H_

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/cli/command.h"
#include "server/cli/training_flags.h"
#include "whipsnake/v1/fine_tuning.pb.h"

namespace whipsnake::server {

// Options that are not given are unset: they then have the value of --config, or the default.
struct JobSettingsFlags {
  TrainingFlags training;
  std::string config;
  std::optional<std::string> model, task, train, eval;
};

void AddJobSettingsFlags(Command command, JobSettingsFlags& flags);

// Converts settings, in the JSON form of FineTuningJobSpec, after the checks that need neither a
// model nor data. A memory_budget may be a text such as "2GB". INVALID_ARGUMENT, naming the key,
// for one that is unknown or not for jobs, and for a wrong value.
absl::StatusOr<v1::FineTuningJobSpec> ParseJobSpec(nlohmann::json settings);

// Returns the settings of --config with those of the other options in their place. Errors as from
// ParseJobSpec, with the fields named as options if there is no --config.
absl::StatusOr<v1::FineTuningJobSpec> MakeJobSpec(const JobSettingsFlags& flags);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_FINETUNE_SETTINGS_H_
