#include "engine/quantize/quantize.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/base/status.h"
#include "engine/models/config.h"
#include "engine/models/family.h"

namespace whipsnake::engine {

std::string ReportJson(const QuantizationReport& report) {
  nlohmann::ordered_json json = {{"scheme", Name(report.scheme)},
                                 {"calibration_tokens", report.calibration_tokens},
                                 {"calibration_digest", report.calibration_digest},
                                 {"float_bytes", report.float_bytes},
                                 {"quantized_bytes", report.quantized_bytes}};
  if (report.percentile) json["percentile"] = *report.percentile;
  for (const PercentileTrial& trial : report.trials) {
    json["trials"].push_back({{"percentile", trial.percentile}, {"nll", trial.nll}});
  }
  if (report.state_clip) json["state_clip"] = *report.state_clip;
  for (const StateClipTrial& trial : report.state_trials) {
    json["state_trials"].push_back({{"clip", trial.clip}, {"nll", trial.nll}});
  }
  if (!report.warnings.empty()) json["warnings"] = report.warnings;
  for (const SiteReport& site : report.sites) {
    nlohmann::ordered_json entry = {{"layer", site.layer},
                                    {"site", site.site},
                                    {"scales", site.scales},
                                    {"smallest_scale", site.smallest_scale},
                                    {"largest_scale", site.largest_scale},
                                    {"clip_rate", site.clip_rate}};
    // JSON has no infinity, so a site that rounding does not change has no snr_db.
    if (std::isfinite(site.snr_db)) entry["snr_db"] = site.snr_db;
    json["sites"].push_back(std::move(entry));
  }
  return json.dump(1) + "\n";
}

absl::StatusOr<QuantizationReport> QuantizeModel(
    const std::string& directory, const CalibrationSet& calibration, const QuantizeOptions& options,
    const std::string& out, const ModelEnvironment& environment, const WorkProgress& progress) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(directory));
  if (const absl::Status status = CheckRecipe(options.recipe, config); !status.ok()) {
    return WithPath(status, directory + "/config.json");
  }
  RETURN_IF_ERROR(CheckPercentile(options.recipe, options.percentile));
  return config.family->quantize(directory, out,
                                 {config, calibration, options, environment, progress});
}

}  // namespace whipsnake::engine
