#include "server/jobs/quantization_kind.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/status.h"
#include "server/json_message.h"
#include "server/registry/quantization_request.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

constexpr char kReport[] = "quantization_report.json";

// QuantizationReport.
absl::StatusOr<json> ParseReport(const std::string& text) {
  ASSIGN_OR_RETURN(json report, engine::ParseJsonObject(text));
  report.erase("sites");  // there may be thousands, and the output directory lists them
  return report;
}

}  // namespace

json QuantizationKind::MakeRequest(json message, const QuantizationRequest& parsed) {
  message["resolved"] = {{"scheme", std::string(engine::Name(parsed.options.recipe.scheme))},
                         {"directory", parsed.directory},
                         {"output_directory", parsed.output_directory},
                         {"calibration_file", parsed.calibration_file}};
  return message;
}

bool QuantizationKind::IsValid(const json& request) const {
  return request.is_object() && request.contains("resolved") &&
         request.at("resolved").is_object() && request.at("resolved").contains("output_directory");
}

// The request was checked when it came.
absl::Status QuantizationKind::Prepare(const Job&, JobRun&, Preparation&) {
  return absl::OkStatus();
}

absl::StatusOr<json> QuantizationKind::Run(const Job& job, JobRun& run) {
  const json& resolved = job.request.at("resolved");
  // The attempt before may have been cut off after it had written the output.
  const std::string report = resolved.at("output_directory").get<std::string>() + "/" + kReport;
  std::error_code error;
  if (job.attempt > 1 && std::filesystem::exists(report, error)) {
    ASSIGN_OR_RETURN(const std::string text, engine::ReadTextFile(report));
    return ParseReport(text);
  }
  v1::QuantizeModelRequest message;
  JsonToMessage(job.request, &message);
  ASSIGN_OR_RETURN(QuantizationRequest request, ParseQuantizationRequest(message, model_root_));
  // The quantizer refuses directories that are no longer those of the request.
  request.directory = resolved.at("directory");
  request.output_directory = resolved.at("output_directory");
  request.calibration_file = resolved.at("calibration_file");
  const auto progress = [&](std::string_view stage, double fraction) -> absl::Status {
    // At 1 the output exists, and what is finished cannot be stopped.
    if (fraction < 1) RETURN_IF_ERROR(run.CheckStop());
    run.Report({.stage = std::string(stage), .fraction = fraction});
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(const engine::QuantizationReport done, quantizer_(request, progress));
  return ParseReport(engine::ReportJson(done));
}

void QuantizationKind::TrimRequest(json& request) const { request.erase("texts"); }

}  // namespace whipsnake::server
