#include "server/registry/quantization_request.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "engine/base/field_errors.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/models/config.h"
#include "server/errors.h"
#include "server/registry/model_path.h"

namespace whipsnake::server {
namespace {

using engine::InvalidField;

constexpr int64_t kMaxSamplesOrTokens = 1 << 20;

engine::RecipeOptions NamesOf(const v1::QuantizeModelRequest& request) {
  return {.scheme = request.scheme(),
          .granularity = request.granularity(),
          .head = request.head(),
          .activations = request.activations(),
          .residual_rotation = request.residual_rotation(),
          .activation_table = request.activation_table()};
}

absl::StatusOr<engine::QuantizeOptions> ParseOptions(const v1::QuantizeModelRequest& request) {
  engine::QuantizeOptions options;
  engine::FieldErrors errors;
  errors.Add(engine::ParseRecipe(NamesOf(request)), &options.recipe);
  if (!(request.percentile() >= 0 && request.percentile() <= 1)) {
    errors.Add(InvalidField("percentile", std::to_string(request.percentile()),
                            "a number above 0, at most 1, or 0 to have it chosen"));
  }
  RETURN_IF_ERROR(errors.status());
  if (request.percentile() > 0) options.percentile = request.percentile();
  return options;
}

absl::Status SetIfGiven(std::string_view field, int64_t seen, int64_t smallest, int64_t* value) {
  if (seen == 0) return absl::OkStatus();
  if (seen < smallest || seen > kMaxSamplesOrTokens) {
    return InvalidField(
        field, std::to_string(seen),
        absl::StrCat(smallest, " to ", kMaxSamplesOrTokens, ", or 0 for the default"));
  }
  *value = seen;
  return absl::OkStatus();
}

// Returns the texts as the contents of a calibration file: a single text as it is, several as JSON
// lines.
absl::StatusOr<std::string> FileOf(const v1::QuantizeModelRequest& request) {
  int64_t bytes = 0;
  for (const std::string& text : request.texts()) bytes += std::ssize(text);
  if (bytes > kMaxInlineCalibrationBytes) {
    return InvalidField("texts", absl::StrCat(bytes, " bytes"),
                        absl::StrCat("at most ", kMaxInlineCalibrationBytes,
                                     "; calibration_path names a file that may be larger"));
  }
  if (request.texts_size() == 1) return request.texts(0);
  std::string lines;
  for (const std::string& text : request.texts()) {
    lines += nlohmann::json{{"text", text}}.dump() + "\n";
  }
  return lines;
}

absl::StatusOr<std::string> CheckedFile(const std::string& model_root, const std::string& path) {
  ASSIGN_OR_RETURN(std::string file, ResolveFile(model_root, path, "calibration_path"));
  std::error_code error;
  const auto bytes = std::filesystem::file_size(file, error);
  if (!error && bytes > kMaxCalibrationFileBytes) {
    return InvalidField("calibration_path",
                        absl::StrCat("a file of ", static_cast<int64_t>(bytes), " bytes"),
                        absl::StrCat("at most ", kMaxCalibrationFileBytes));
  }
  return file;
}

// Returns the recipe for this model, whose config determines the default scheme.
absl::StatusOr<engine::Recipe> RecipeFor(const std::string& directory, const std::string& path,
                                         const engine::RecipeOptions& names) {
  const auto text = engine::ReadTextFile(directory + "/config.json");
  if (absl::IsNotFound(text.status())) {
    return WithResource(
        absl::NotFoundError(absl::StrCat("path: no config.json in ", engine::Quoted(path))),
        "model directory", path);
  }
  const auto context = [&](const absl::Status& status) {
    return engine::WithContext(status, absl::StrCat("path: ", engine::Quoted(path)));
  };
  if (!text.ok()) return context(AsCheckpointError(text.status()));
  const auto config = engine::ParseModelConfig(*text);
  if (!config.ok()) return context(AsCheckpointError(config.status()));
  ASSIGN_OR_RETURN(engine::Recipe recipe, engine::ParseRecipe(names, &*config));
  const absl::Status suits = engine::CheckRecipe(recipe, *config);
  if (suits.ok()) return recipe;
  if (!absl::IsFailedPrecondition(suits)) return context(suits);
  return WithPrecondition(WithReason(context(suits), "ALREADY_QUANTIZED"), "MODEL_SCHEME", path);
}

}  // namespace

absl::StatusOr<QuantizationRequest> ParseQuantizationRequest(
    const v1::QuantizeModelRequest& request, const std::string& model_root) {
  QuantizationRequest parsed;
  engine::FieldErrors errors;
  errors.Add(ParseOptions(request), &parsed.options);
  errors.Add(SetIfGiven("max_samples", request.max_samples(), engine::kMinCalibrationSamples,
                        &parsed.samples.max_samples));
  errors.Add(SetIfGiven("max_tokens", request.max_tokens(), engine::kMinSampleTokens,
                        &parsed.samples.max_tokens));

  parsed.model_root = model_root;
  parsed.path = request.path();
  parsed.output_path = request.output_path();
  errors.Add(ResolveModelPath(model_root, request.path()), &parsed.directory);
  errors.Add(ResolveNewDirectory(model_root, request.output_path(), "output_path"),
             &parsed.output_directory);

  const bool in_file = !request.calibration_path().empty();
  if (in_file && request.texts_size() > 0) {
    errors.Add(InvalidField("calibration_path", engine::Quoted(request.calibration_path()),
                            "nothing, as texts are given"));
  } else if (in_file) {
    parsed.calibration_path = request.calibration_path();
    errors.Add(CheckedFile(model_root, request.calibration_path()), &parsed.calibration_file);
  } else if (request.texts_size() > 0) {
    errors.Add(FileOf(request), &parsed.calibration_text);
  } else {
    errors.Add(InvalidField("texts", "none", "text to calibrate with, or a calibration_path"));
  }
  RETURN_IF_ERROR(errors.status());
  ASSIGN_OR_RETURN(parsed.options.recipe,
                   RecipeFor(parsed.directory, request.path(), NamesOf(request)));
  RETURN_IF_ERROR(engine::CheckPercentile(parsed.options.recipe, parsed.options.percentile));
  return parsed;
}

}  // namespace whipsnake::server
