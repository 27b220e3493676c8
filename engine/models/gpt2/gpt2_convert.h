// Replaces the activation in a GPT-2's feed-forward layers.
#ifndef WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_CONVERT_H_
#define WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_CONVERT_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/models/convert.h"
#include "engine/models/gpt2/gpt2_config.h"

namespace whipsnake::engine {

// ConvertActivation() for a GPT-2 with float weights. The activation must be a known one.
absl::StatusOr<Conversion> ConvertGpt2Activation(const std::string& directory,
                                                 const Gpt2Config& config,
                                                 std::string_view activation,
                                                 std::optional<float> epsilon,
                                                 const std::string& out);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_CONVERT_H_
