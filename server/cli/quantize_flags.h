// The flags that say how to quantize, of the local command and of the server's client alike.
#ifndef WHIPSNAKE_SERVER_CLI_QUANTIZE_FLAGS_H_
#define WHIPSNAKE_SERVER_CLI_QUANTIZE_FLAGS_H_

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/quantize/calibration.h"

namespace whipsnake::server {

struct RecipeFlags {
  std::string scheme = "quamba-w8a8";
  std::string percentile = "auto";
  std::string granularity = "channel";
  std::string head = "int8";
  bool residual_rotation = false;
  engine::CalibrationOptions samples;
};

void AddRecipeFlags(CLI::App& command, RecipeFlags& flags);

// Nothing for "auto". INVALID_ARGUMENT unless that or a number above 0, at most 1.
absl::StatusOr<std::optional<double>> ParsePercentile(const std::string& text);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_QUANTIZE_FLAGS_H_
