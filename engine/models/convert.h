// A model with another activation in its feed-forward layers, ready to be fine-tuned.
#ifndef WHIPSNAKE_ENGINE_MODELS_CONVERT_H_
#define WHIPSNAKE_ENGINE_MODELS_CONVERT_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

// What CRReLU's epsilon begins with in the published experiments (arXiv 2405.12954).
inline constexpr float kInitialEpsilon = 0.01f;

// What became of CRReLU's epsilons.
struct Conversion {
  bool kept_epsilons = false;    // each layer has the one that it had
  std::optional<float> epsilon;  // else what every layer has; nothing with another activation
};

// Writes the model in `directory` with `activation` ("crrelu", "gelu_new", ...) to `out`: the same
// weights in one model.safetensors, config.json with the activation's name, the tokenizer's files.
// With CRReLU every layer has an epsilon of its own, as a tensor "...mlp.act.lr" of one number, and
// there is crrelu.py, by which transformers comes to know the activation. The epsilons are all
// `epsilon` where one is given; else those of a model that has CRReLU already, which were trained,
// or kInitialEpsilon. With another activation the epsilons that there were are left out.
//
// Another activation is another function: the model has to be fine-tuned to be of use again. The
// directory appears whole or not at all. INVALID_ARGUMENT names an unknown activation, an epsilon
// that is not finite, and one beside another activation than CRReLU; NOT_FOUND a layer of a model
// with CRReLU that has no epsilon; FAILED_PRECONDITION for a quantized model; UNIMPLEMENTED for an
// architecture whose activation cannot be changed; ALREADY_EXISTS, NOT_FOUND and RESOURCE_EXHAUSTED
// as from WriteRandomModel().
absl::StatusOr<Conversion> ConvertActivation(const std::string& directory,
                                             std::string_view activation,
                                             std::optional<float> epsilon, const std::string& out);

// crrelu.py: registers the activation with transformers.
std::string_view CrreluRegistration();

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_CONVERT_H_
