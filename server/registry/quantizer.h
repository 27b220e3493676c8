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
  std::string directory;         // of the float model: where it lies
  std::string output_directory;  // to be made
  std::string path;              // the two as the client called them
  std::string output_path;
  engine::QuantizeOptions options;
  std::string calibration_file;  // where it lies; empty: the text is here
  std::string calibration_text;  // JSON lines or plain text, as a file has it
  engine::CalibrationOptions samples;
};

// Tells the progress, and ends with its error if that has one.
using Quantizer = std::function<absl::StatusOr<engine::QuantizationReport>(
    const QuantizationRequest& request, const engine::QuantizeProgress& progress)>;

// Reads the model's tokenizer and the calibration text, then does engine::QuantizeModel at the
// priority of background work. What the environment points to outlives the quantizer.
Quantizer MakeDirectoryQuantizer(engine::ModelEnvironment environment);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_QUANTIZER_H_
