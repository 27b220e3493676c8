// QuantizeModel() for a Mamba; see quantize.h for the contract.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_JOB_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_JOB_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/quantize/quantize.h"

namespace whipsnake::engine {

absl::StatusOr<QuantizationReport> QuantizeMamba(const std::string& directory,
                                                 const std::string& out,
                                                 const QuantizationInputs& inputs);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_JOB_H_
