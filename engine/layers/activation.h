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

// Hugging Face's names: "relu", "leaky_relu", "gelu", "gelu_new", "quick_gelu", "silu", "mish" and
// our "crrelu"; of synonyms ("swish", "gelu_pytorch_tanh", "gelu_fast") it knows the meaning.
std::optional<kernels::Activation> ParseActivation(std::string_view name);
std::string_view Name(kernels::Activation activation);
std::string ActivationNames();  // "relu, leaky_relu, ..." for messages

// The names that CRReLU's epsilon has been given in an activation's module, the authors' own first.
inline constexpr const char* kEpsilonNames[] = {".lr", ".epsilon", ".eps"};

struct ActivationConfig {
  kernels::Activation activation = kernels::Activation::kGeluNew;
  // For layers whose checkpoint has no epsilon; absent: each must have one. For CRReLU alone.
  std::optional<float> crrelu_epsilon_init;
};

// Loads the activation of the module `name` ("transformer.h.0.mlp.act"), with CRReLU's epsilon from
// the checkpoint: the tensor `name` + ".lr", ".epsilon" or ".eps", of one number, or else
// crrelu_epsilon_init. Errors name the tensor: one is missing, or there is one beside another
// activation.
absl::StatusOr<kernels::ActivationFunction> LoadActivation(WeightLoader& loader,
                                                           const std::string& name,
                                                           const ActivationConfig& config);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_ACTIVATION_H_
