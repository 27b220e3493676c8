// Between the messages of quantizations and the jobs.
#ifndef WHIPSNAKE_SERVER_RPC_QUANTIZATION_REQUEST_H_
#define WHIPSNAKE_SERVER_RPC_QUANTIZATION_REQUEST_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/registry/quantization_jobs.h"
#include "whipsnake/v1/model.pb.h"

namespace whipsnake::server {

// Of all texts of a request, so that it stays well below the largest message.
inline constexpr int64_t kMaxInlineCalibrationBytes = int64_t{3} << 20;

// All that can be known before the work: INVALID_ARGUMENT names the fields; NOT_FOUND and
// ALREADY_EXISTS for what should be there and what should not, FAILED_PRECONDITION for a model that
// is quantized already, DATA_LOSS for a config.json that is missing or no model's.
absl::StatusOr<QuantizationRequest> ParseQuantizationRequest(
    const v1::QuantizeModelRequest& request, const std::string& model_root);

v1::Quantization ToProto(const QuantizationSnapshot& snapshot);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_QUANTIZATION_REQUEST_H_
