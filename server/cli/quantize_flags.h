// What the commands that quantize share: the local one, the server's client and the benchmark.
#ifndef WHIPSNAKE_SERVER_CLI_QUANTIZE_FLAGS_H_
#define WHIPSNAKE_SERVER_CLI_QUANTIZE_FLAGS_H_

#include <CLI/CLI.hpp>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "engine/quantize/calibration.h"
#include "engine/quantize/quantize.h"
#include "server/cli/progress.h"

namespace whipsnake::server {

struct RecipeFlags {
  std::string scheme;
  std::string percentile = "auto";
  std::string granularity = "channel";
  std::string head = "int8";
  std::string activations;
  bool activation_table = false;
  bool residual_rotation = false;
  engine::CalibrationOptions samples;
};

engine::RecipeNames NamesOf(const RecipeFlags& flags);

void AddRecipeFlags(CLI::App& command, RecipeFlags& flags);

// Nothing for "auto". INVALID_ARGUMENT unless that or a number above 0, at most 1.
absl::StatusOr<std::optional<double>> ParsePercentile(const std::string& text);

// The text of `file` in the tokens of the model directory `model`.
absl::StatusOr<engine::CalibrationSet> ReadCalibration(const std::string& file,
                                                       const std::string& model,
                                                       const engine::CalibrationOptions& options);

// The first of a report's warnings, a line each.
std::string WarningLines(std::span<const std::string> warnings);

// Shows a quantization's stages on `progress`, which outlives what is returned.
engine::WorkProgress ShowOn(Progress& progress);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_QUANTIZE_FLAGS_H_
