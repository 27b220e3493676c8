// Quantizes a model directory according to a checked request.
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
  std::string model_root;   // all paths are below it
  std::string path;         // of the float model, as given by the client
  std::string output_path;  // of the directory to create, as given by the client
  std::string directory;    // real path when the request arrived
  std::string output_directory;
  engine::QuantizeOptions options;
  std::string calibration_path;  // empty: the text is in calibration_text
  std::string calibration_file;  // real path when the request arrived
  std::string calibration_text;  // JSON lines or plain text, as in a file
  engine::CalibrationOptions samples;
};

// Reports its progress. If `progress` returns an error, ends with that error.
using Quantizer = std::function<absl::StatusOr<engine::QuantizationReport>(
    const QuantizationRequest& request, const engine::WorkProgress& progress)>;

// Resolves the request's paths again, because it may have waited for long. Reads the model's
// tokenizer and the calibration text, then runs engine::QuantizeModel at background priority. The
// output is created in the directory that was its parent when the work began, even if that is moved
// or replaced. Returns errors of ResolveModelPath and ResolveNewDirectory, DATA_LOSS for wrong
// model files (AsCheckpointError), and errors of QuantizeModel. The objects that `environment`
// points to must outlive the quantizer.
Quantizer MakeDirectoryQuantizer(engine::ModelEnvironment environment);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_QUANTIZER_H_
