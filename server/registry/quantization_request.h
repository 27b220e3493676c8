// Reads and checks the messages that ask for a quantization.
#ifndef WHIPSNAKE_SERVER_REGISTRY_QUANTIZATION_REQUEST_H_
#define WHIPSNAKE_SERVER_REGISTRY_QUANTIZATION_REQUEST_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/registry/quantizer.h"
#include "whipsnake/v1/model.pb.h"

namespace whipsnake::server {

// The most bytes of all texts of a request, well below the largest message.
inline constexpr int64_t kMaxInlineCalibrationBytes = int64_t{3} << 20;

// Checks everything that can be checked before the work starts. INVALID_ARGUMENT names the wrong
// fields; NOT_FOUND is for a path that should exist, including the model's config.json;
// ALREADY_EXISTS is for an output path that should not; FAILED_PRECONDITION is for a model that is
// already quantized; DATA_LOSS is for a config.json that cannot be parsed.
absl::StatusOr<QuantizationRequest> ParseQuantizationRequest(
    const v1::QuantizeModelRequest& request, const std::string& model_root);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_QUANTIZATION_REQUEST_H_
