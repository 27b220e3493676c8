// The options of `whipsnake train` that choose which layers train in a step.
#ifndef WHIPSNAKE_SERVER_CLI_FREEZING_FLAGS_H_
#define WHIPSNAKE_SERVER_CLI_FREEZING_FLAGS_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "server/cli/command.h"

namespace whipsnake::server {

// Options that are not given are unset: they then have the value of the recipe and the scheduler.
struct FreezingFlags {
  std::optional<std::string> scheduler, recipe, freezing_unit, score, badam_order;
  // "true" or "false", since a recipe sets them either way.
  std::optional<std::string> refresh_at_zero_rate, legacy_drift, train_biases;
  std::optional<double> freezing_rate, misa_temperature;
  std::optional<int64_t> switch_every, lisa_blocks;
};

void AddFreezingFlags(Command command, FreezingFlags& flags);

// Puts the options that are given in the settings of a job, in the place of what is there.
void SetFreezing(const FreezingFlags& flags, nlohmann::json& settings);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_FREEZING_FLAGS_H_
