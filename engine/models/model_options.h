// The choices that a user has when a model is loaded.
#ifndef WHIPSNAKE_ENGINE_MODELS_MODEL_OPTIONS_H_
#define WHIPSNAKE_ENGINE_MODELS_MODEL_OPTIONS_H_

#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/scheme.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

struct ModelConfig;

struct ModelOptions {
  // kFp32 or kBf16 for a directory of float weights; for a quantized directory, the scheme that it
  // was quantized with. Unset: fp32, or the scheme of the directory.
  std::optional<Scheme> scheme = std::nullopt;
  // The type in which states are kept: kF32, kBF16 or kI8. A smaller type takes less memory, and
  // less time in large batches. Unset: fp32 for a recurrent model, as its states would lose small
  // updates in a smaller type, and as models with float weights have no other; for a transformer's
  // keys and values, the type of its weights: fp32, bf16 or int8.
  std::optional<kernels::DType> state_type = std::nullopt;
};

// Parses the names of a scheme and of a state type ("fp32", "bf16", "int8"). An empty name stands
// for the default. Returns INVALID_ARGUMENT, naming the field "scheme" or "state_type", for an
// unknown name.
absl::StatusOr<ModelOptions> ParseModelOptions(std::string_view scheme,
                                               std::string_view state_type);

// Returns FAILED_PRECONDITION, naming the option, for an option that a model of this config cannot
// have: a scheme that its weights do not allow, or a state type other than fp32 for a Mamba with
// float weights.
absl::Status CheckOptions(const ModelOptions& options, const ModelConfig& config);

// Returns those options that CheckOptions accepts for the model; for defaults that apply to many
// models. Appends to `left_out` the error for each of the other options.
ModelOptions ApplicableOptions(const ModelOptions& options, const ModelConfig& config,
                               std::vector<absl::Status>& left_out);

// Chooses the scheme for weights that are quantized with the scheme `quantized`, or not quantized
// if that is unset. Returns FAILED_PRECONDITION if the weights are not available in the scheme of
// the options.
absl::StatusOr<Scheme> ChooseScheme(const ModelOptions& options, std::optional<Scheme> quantized);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MODEL_OPTIONS_H_
