// The options of `whipsnake train`.
#ifndef WHIPSNAKE_SERVER_CLI_TRAIN_FLAGS_H_
#define WHIPSNAKE_SERVER_CLI_TRAIN_FLAGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/finetune/fine_tuning_spec.h"
#include "server/cli/command.h"
#include "server/cli/freezing_flags.h"

namespace whipsnake::server {

// Options that are not given are unset: they then have the value of --config, or the default.
struct TrainFlags {
  std::string config;
  std::optional<std::string> model, task, train, eval, out, checkpoints, out_type, label_column;
  std::optional<std::string> schedule, optimizer, moments, precision, compression;
  std::optional<std::string> memory_budget;
  FreezingFlags freezing;
  std::optional<double> epochs, lr, warmup, max_gradient_norm, dropout, label_smoothing, dpo_beta;
  std::optional<double> weight_decay, beta1, beta2, adam_epsilon, momentum, crrelu_epsilon_factor;
  std::optional<int64_t> max_steps, batch, micro_batch, max_length, seed, evaluate_every, patience;
  std::optional<int64_t> checkpoint_every, keep_checkpoints;
  std::vector<std::string> freeze;
  std::vector<std::string> groups;  // "PATTERN=FACTOR" or "PATTERN=FACTOR,DECAY"
  bool unpacked = false, no_header = false, resume = false;
  bool checkpointing = false, update_in_backward = false;
};

void AddTrainFlags(Command command, TrainFlags& flags);

// Returns the settings of --config with those of the other options in their place. Errors as from
// ParseFineTuningSpec, with the fields named as options if there is no --config.
absl::StatusOr<engine::FineTuningSpec> MakeSpec(const TrainFlags& flags);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_TRAIN_FLAGS_H_
