// QuantizeModel() for a transformer; see quantize.h for the contract.
#ifndef WHIPSNAKE_ENGINE_MODELS_GPT2_TRANSFORMER_JOB_H_
#define WHIPSNAKE_ENGINE_MODELS_GPT2_TRANSFORMER_JOB_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/quantize/quantize.h"

namespace whipsnake::engine {

absl::StatusOr<QuantizationReport> QuantizeTransformer(
    const std::string& directory, const ModelConfig& config, const CalibrationSet& calibration,
    const QuantizeOptions& options, const std::string& out, const ModelEnvironment& environment,
    const WorkProgress& progress);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_TRANSFORMER_JOB_H_
