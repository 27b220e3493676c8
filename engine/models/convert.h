// Replaces the activation in a model's feed-forward layers, before fine-tuning.
#ifndef WHIPSNAKE_ENGINE_MODELS_CONVERT_H_
#define WHIPSNAKE_ENGINE_MODELS_CONVERT_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/layers/unused_tensors.h"

namespace whipsnake::engine {

// The initial value of CRReLU's epsilon in the published experiments (arXiv 2405.12954).
inline constexpr float kInitialEpsilon = 0.01f;

// What the conversion did with CRReLU's epsilons.
struct Conversion {
  bool kept_epsilons = false;    // each layer keeps its own
  std::optional<float> epsilon;  // otherwise that of every layer; nullopt for other activations
  UnusedTensors left_out;        // tensors that the engine cannot compute with
};

// Writes the model in `directory` with `activation` ("crrelu", "gelu_new", ...) to `out`: the same
// weights in one model.safetensors, config.json with the activation's name, and the tokenizer's
// files. With CRReLU, every layer has its own epsilon, a tensor "...mlp.act.lr" of one number, and
// crrelu.py is written, which registers the activation with transformers. All epsilons are
// `epsilon` if it is given; otherwise they are the trained ones of a model that already has CRReLU,
// or kInitialEpsilon. With any other activation, existing epsilons are left out.
//
// Another activation is another function, so the model must be fine-tuned before it is useful
// again. The directory is written completely or not at all. Returns INVALID_ARGUMENT for an unknown
// activation, an epsilon that is not finite, or an epsilon with an activation other than CRReLU;
// NOT_FOUND if a layer of a model with CRReLU has no epsilon; FAILED_PRECONDITION for a quantized
// model; UNIMPLEMENTED for an architecture whose activation cannot be changed; ALREADY_EXISTS,
// NOT_FOUND and RESOURCE_EXHAUSTED as from WriteRandomModel().
absl::StatusOr<Conversion> ConvertActivation(const std::string& directory,
                                             std::string_view activation,
                                             std::optional<float> epsilon, const std::string& out);

// The text of crrelu.py, which registers the activation with transformers.
std::string_view CrreluRegistration();

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_CONVERT_H_
