#include "server/registry/quantizer.h"

#include <filesystem>

#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/errors.h"
#include "server/registry/model_path.h"

namespace whipsnake::server {
namespace {

absl::StatusOr<engine::CalibrationSet> ReadCalibration(const QuantizationRequest& request) {
  auto tokenizer = engine::Tokenizer::LoadDirectory(request.directory);
  if (!tokenizer.ok()) return AsCheckpointError(tokenizer.status());
  if (request.calibration_path.empty()) {
    return engine::MakeCalibrationSet(request.calibration_text, **tokenizer, request.samples);
  }
  ASSIGN_OR_RETURN(const std::string file,
                   ResolveFile(request.model_root, request.calibration_path, "calibration_path"));
  ASSIGN_OR_RETURN(const std::string text, engine::ReadTextFile(file, kMaxCalibrationFileBytes));
  return engine::MakeCalibrationSet(text, **tokenizer, request.samples);
}

absl::Status CheckUnchanged(std::string_view field, const std::string& seen,
                            const std::string& before) {
  if (seen == before) return absl::OkStatus();
  return engine::InvalidField(field, "a directory that was replaced while the quantization waited",
                              "one that stays");
}

}  // namespace

Quantizer MakeDirectoryQuantizer(engine::ModelEnvironment environment) {
  environment.background = true;
  return [environment](
             const QuantizationRequest& request,
             const engine::WorkProgress& progress) -> absl::StatusOr<engine::QuantizationReport> {
    ASSIGN_OR_RETURN(const std::string directory,
                     ResolveModelPath(request.model_root, request.path));
    RETURN_IF_ERROR(CheckUnchanged("path", directory, request.directory));
    ASSIGN_OR_RETURN(const std::string output,
                     ResolveNewDirectory(request.model_root, request.output_path, "output_path"));
    RETURN_IF_ERROR(CheckUnchanged("output_path", output, request.output_directory));
    ASSIGN_OR_RETURN(
        const OpenDirectory parent,
        OpenDirectory::Open(request.model_root, engine::ParentOf(output), "output_path"));
    RETURN_IF_ERROR(progress("Reading the calibration text", 0));
    ASSIGN_OR_RETURN(const engine::CalibrationSet calibration, ReadCalibration(request));
    const std::string name = std::filesystem::path(output).filename().string();
    return engine::QuantizeModel(directory, calibration, request.options,
                                 parent.path() + "/" + name, environment, progress);
  };
}

}  // namespace whipsnake::server
