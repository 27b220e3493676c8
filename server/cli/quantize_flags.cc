#include "server/cli/quantize_flags.h"

#include <algorithm>
#include <cstdlib>

#include "engine/base/scheme.h"
#include "engine/base/status.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/cli/input.h"

namespace whipsnake::server {
namespace {

constexpr int64_t kMaxSamplesOrTokens = 1 << 20;
constexpr int64_t kMaxCalibrationBytes = int64_t{1} << 30;

}  // namespace

engine::RecipeOptions NamesOf(const RecipeFlags& flags) {
  return {.scheme = flags.scheme,
          .granularity = flags.granularity,
          .head = flags.head,
          .activations = flags.activations,
          .residual_rotation = flags.residual_rotation,
          .activation_table = flags.activation_table};
}

void AddRecipeFlags(Command command, RecipeFlags& flags) {
  command
      .AddOption("--scheme", flags.scheme,
                 engine::SchemeNames(engine::QuantizedSchemes()) +
                     " (default: quamba-w8a8 of a Mamba, w8a8 of a transformer)")
      .TypeName("SCHEME");
  command
      .AddOption("--percentile", flags.percentile,
                 "Quantile at which a Mamba's x is clipped, for schemes that clip it; auto tries "
                 "four on held-out text")
      .TypeName("P")
      .ShowDefault();
  command
      .AddOption("--granularity", flags.granularity,
                 "channel: a scale for each output; tensor: one for each tensor, as published")
      .Choices({"channel", "tensor"})
      .ShowDefault();
  command.AddOption("--head", flags.head, "How embedding and head are held")
      .Choices({"int8", "bf16"})
      .ShowDefault();
  command
      .AddOption("--activations", flags.activations,
                 "Of w8a8: a scale for each token, dynamic, or one from calibration, static "
                 "(default: dynamic)")
      .Choices({"dynamic", "static"});
  command.AddFlag("--activation-table", flags.activation_table,
                  "With static activations: looks the activation up in a table, unless that would "
                  "lose CRReLU's epsilon");
  command.AddFlag("--residual-rotation", flags.residual_rotation,
                  "Rotates the residual stream too; a tied head becomes a separate weight");
  command.AddOption("--samples", flags.samples.max_samples, "Documents to calibrate with, at most")
      .IntegerRange(engine::kMinCalibrationSamples, kMaxSamplesOrTokens)
      .TypeName("N")
      .ShowDefault();
  command.AddOption("--max-tokens", flags.samples.max_tokens, "Tokens of a document, at most")
      .IntegerRange(engine::kMinSampleTokens, kMaxSamplesOrTokens)
      .TypeName("N")
      .ShowDefault();
}

absl::StatusOr<std::optional<double>> ParsePercentile(const std::string& text) {
  if (text == "auto") return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != 0 || !(value > 0 && value <= 1)) {
    return engine::InvalidField("--percentile", text, "auto, or a number above 0, at most 1");
  }
  return value;
}

absl::StatusOr<engine::CalibrationSet> ReadCalibration(const std::string& file,
                                                       const std::string& model,
                                                       const engine::CalibrationOptions& options) {
  ASSIGN_OR_RETURN(const auto tokenizer, engine::Tokenizer::LoadDirectory(model));
  ASSIGN_OR_RETURN(const std::string text, ReadInput(file, kMaxCalibrationBytes));
  auto set = engine::MakeCalibrationSet(text, *tokenizer, options);
  if (!set.ok()) return engine::WithContext(set.status(), file);
  return set;
}

std::string WarningLines(std::span<const std::string> warnings) {
  constexpr size_t kShown = 3;
  std::string lines;
  for (size_t i = 0; i < std::min(kShown, warnings.size()); ++i) {
    absl::StrAppend(&lines, "Warning: ", warnings[i], ".\n");
  }
  if (warnings.size() > kShown) {
    absl::StrAppend(&lines, "Warning: and ", warnings.size() - kShown,
                    " more; quantization_report.json has all.\n");
  }
  return lines;
}

}  // namespace whipsnake::server
