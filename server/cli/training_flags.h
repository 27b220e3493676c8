// The settings of training as options, for a run here (`whipsnake train`) and for a server's job
// (`whipsnake finetune`).
#ifndef WHIPSNAKE_SERVER_CLI_TRAINING_FLAGS_H_
#define WHIPSNAKE_SERVER_CLI_TRAINING_FLAGS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/cli/command.h"
#include "server/cli/freezing_flags.h"

namespace whipsnake::server {

// Options that are not given are unset: they then have the value of --config, or the default.
struct TrainingFlags {
  std::optional<std::string> out_type, schedule, optimizer, moments, precision, compression;
  std::optional<std::string> memory_budget;
  FreezingFlags freezing;
  std::optional<double> epochs, lr, warmup, max_gradient_norm, dropout, label_smoothing, dpo_beta;
  std::optional<double> weight_decay, beta1, beta2, adam_epsilon, momentum, crrelu_epsilon_factor;
  std::optional<int64_t> max_steps, batch, micro_batch, max_length, seed, evaluate_every, patience;
  std::optional<int64_t> checkpoint_every, keep_checkpoints;
  std::vector<std::string> freeze;
  std::vector<std::string> groups;  // "PATTERN=FACTOR" or "PATTERN=FACTOR,DECAY"
  bool unpacked = false, checkpointing = false, update_in_backward = false;
};

void AddTrainingFlags(Command command, TrainingFlags& flags);

// Puts the options that are given in the settings of a job, in the place of what is there.
// INVALID_ARGUMENT for a group that cannot be read.
absl::Status SetTraining(const TrainingFlags& flags, nlohmann::json& settings);

// Puts one option in the settings if it is given.
template <typename Value>
void SetIfGiven(nlohmann::json& settings, const char* key, const std::optional<Value>& value) {
  if (value) settings[key] = *value;
}

// Reads the settings of a job from the file of --config; none if the file is "".
absl::StatusOr<nlohmann::json> ReadSettings(const std::string& file);

// Names the field of an error as an option: "micro_batch: 9 seen" becomes "--micro-batch: 9 seen".
// Groups have no option of their name.
absl::Status WithFieldAsOption(const absl::Status& status);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_TRAINING_FLAGS_H_
