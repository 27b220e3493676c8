// From a checked request to a quantized model directory.
#ifndef WHIPSNAKE_SERVER_REGISTRY_QUANTIZER_H_
#define WHIPSNAKE_SERVER_REGISTRY_QUANTIZER_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/models/model.h"
#include "engine/quantize/calibration.h"
#include "engine/quantize/quantize.h"

namespace whipsnake::server {

inline constexpr int64_t kMaxCalibrationFileBytes = int64_t{16} << 20;

struct QuantizationRequest {
  std::string model_root;   // below which the paths lie
  std::string path;         // of the float model, as the client called it
  std::string output_path;  // of the directory to be made, likewise
  std::string directory;    // where the two lay when the request came
  std::string output_directory;
  engine::QuantizeOptions options;
  std::string calibration_path;  // empty: the text is here
  std::string calibration_file;  // where it lay
  std::string calibration_text;  // JSON lines or plain text, as a file has it
  engine::CalibrationOptions samples;
};

// Tells the progress, and ends with its error if that has one.
using Quantizer = std::function<absl::StatusOr<engine::QuantizationReport>(
    const QuantizationRequest& request, const engine::WorkProgress& progress)>;

// Resolves the request's paths anew, for it may have waited long. Reads the model's tokenizer and
// the calibration text, then does engine::QuantizeModel at the priority of background work. The
// output is made in the directory that was its parent when the work began, whatever takes the place
// of that. Errors as from ResolveModelPath and ResolveNewDirectory, DATA_LOSS for what is wrong
// with the model's files (BlameCheckpoint), else as from QuantizeModel. What the environment points
// to outlives the quantizer.
Quantizer MakeDirectoryQuantizer(engine::ModelEnvironment environment);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_QUANTIZER_H_
