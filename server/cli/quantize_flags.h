// The common part of the commands that quantize: the local one, the server's client and the
// benchmark.
#ifndef WHIPSNAKE_SERVER_CLI_QUANTIZE_FLAGS_H_
#define WHIPSNAKE_SERVER_CLI_QUANTIZE_FLAGS_H_

#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "engine/quantize/calibration.h"
#include "engine/quantize/quantize.h"
#include "server/cli/command.h"

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

engine::RecipeOptions NamesOf(const RecipeFlags& flags);

void AddRecipeFlags(Command command, RecipeFlags& flags);

// Returns nullopt for "auto". INVALID_ARGUMENT unless `text` is "auto" or a number above 0 and at
// most 1.
absl::StatusOr<std::optional<double>> ParsePercentile(const std::string& text);

// Reads `file` and tokenizes it with the tokenizer of the model directory `model`.
absl::StatusOr<engine::CalibrationSet> ReadCalibration(const std::string& file,
                                                       const std::string& model,
                                                       const engine::CalibrationOptions& options);

// Formats the first warnings of a report, one per line.
std::string WarningLines(std::span<const std::string> warnings);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_QUANTIZE_FLAGS_H_
