// QuantizeModel() for a transformer; see quantize.h for the contract.
#ifndef WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_JOB_H_
#define WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_JOB_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/quantize/quantize.h"

namespace whipsnake::engine {

absl::StatusOr<QuantizationReport> QuantizeGpt2(const std::string& directory,
                                                const std::string& out,
                                                const QuantizationInputs& inputs);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_JOB_H_
