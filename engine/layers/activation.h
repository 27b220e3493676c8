// The activation of a feed-forward layer: its names in config.json, and CRReLU's epsilon in the
// checkpoint.
#ifndef WHIPSNAKE_ENGINE_LAYERS_ACTIVATION_H_
#define WHIPSNAKE_ENGINE_LAYERS_ACTIVATION_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/layers/weights.h"
#include "kernels/activation/activation.h"

namespace whipsnake::engine {

// Uses Hugging Face's names "relu", "leaky_relu", "gelu", "gelu_new", "quick_gelu", "silu" and
// "mish", and our own "crrelu". ParseActivation also accepts the synonyms "swish",
// "gelu_pytorch_tanh" and "gelu_fast", and returns nullopt for other names.
std::optional<kernels::Activation> ParseActivation(std::string_view name);
std::string_view Name(kernels::Activation activation);
std::string ActivationNames();  // "relu, leaky_relu, ..." for messages

// The names in use for CRReLU's epsilon within the activation's module; the authors' own comes
// first.
inline constexpr const char* kEpsilonNames[] = {".lr", ".epsilon", ".eps"};

struct ActivationConfig {
  kernels::Activation activation = kernels::Activation::kGeluNew;
  // CRReLU only: the epsilon of layers for which the checkpoint has none. If unset, every layer
  // must have one.
  std::optional<float> crrelu_epsilon_init;
};

// Loads the activation of the module `name` ("transformer.h.0.mlp.act"). CRReLU's epsilon is the
// number in the tensor `name` + ".lr", ".epsilon" or ".eps", or else crrelu_epsilon_init. Errors
// name the tensor: NOT_FOUND if CRReLU has neither, INVALID_ARGUMENT if another activation has an
// epsilon.
absl::StatusOr<kernels::ActivationFunction> LoadActivation(WeightLoader& loader,
                                                           const std::string& name,
                                                           const ActivationConfig& config);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_ACTIVATION_H_
