#include "server/registry/quantizer.h"

#include "engine/base/status.h"
#include "engine/checkpoint/files.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::server {
namespace {

absl::StatusOr<engine::CalibrationSet> ReadCalibration(const QuantizationRequest& request) {
  ASSIGN_OR_RETURN(const auto tokenizer,
                   engine::Tokenizer::Load(request.directory + "/tokenizer.json"));
  if (request.calibration_file.empty()) {
    return engine::MakeCalibrationSet(request.calibration_text, *tokenizer, request.samples);
  }
  ASSIGN_OR_RETURN(const std::string text,
                   engine::ReadTextFile(request.calibration_file, kMaxCalibrationFileBytes));
  return engine::MakeCalibrationSet(text, *tokenizer, request.samples);
}

}  // namespace

Quantizer MakeDirectoryQuantizer(engine::ModelEnvironment environment) {
  environment.background = true;
  return [environment](const QuantizationRequest& request, const engine::QuantizeProgress& progress)
             -> absl::StatusOr<engine::QuantizationReport> {
    RETURN_IF_ERROR(progress("Reading the calibration text", 0));
    ASSIGN_OR_RETURN(const engine::CalibrationSet calibration, ReadCalibration(request));
    return engine::QuantizeModel(request.directory, calibration, request.options,
                                 request.output_directory, environment, progress);
  };
}

}  // namespace whipsnake::server
