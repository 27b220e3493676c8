#include "engine/layers/activation.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {

using kernels::Activation;
using kernels::ActivationFunction;

namespace {

constexpr std::pair<std::string_view, Activation> kActivations[] = {
    {"relu", Activation::kRelu},
    {"leaky_relu", Activation::kLeakyRelu},
    {"gelu", Activation::kGelu},
    {"gelu_new", Activation::kGeluNew},
    {"quick_gelu", Activation::kQuickGelu},
    {"silu", Activation::kSilu},
    {"mish", Activation::kMish},
    {"crrelu", Activation::kCRRelu},
    // Synonyms come last: Name() returns the first match, and ActivationNames() leaves them out.
    {"swish", Activation::kSilu},
    {"gelu_pytorch_tanh", Activation::kGeluNew},
    {"gelu_fast", Activation::kGeluNew},
};
constexpr size_t kSynonyms = 3;

}  // namespace

std::optional<Activation> ParseActivation(std::string_view name) {
  for (const auto& [known, activation] : kActivations) {
    if (name == known) return activation;
  }
  return std::nullopt;
}

std::string_view Name(Activation activation) {
  for (const auto& [name, known] : kActivations) {
    if (activation == known) return name;
  }
  return "identity";
}

std::string ActivationNames() {
  std::string names;
  for (size_t i = 0; i < std::size(kActivations) - kSynonyms; ++i) {
    absl::StrAppend(&names, i == 0 ? "" : ", ", ToAbsl(kActivations[i].first));
  }
  return names;
}

absl::StatusOr<ActivationFunction> LoadActivation(WeightLoader& loader, const std::string& name,
                                                  const ActivationConfig& config) {
  ActivationFunction f{config.activation, config.crrelu_epsilon_init.value_or(0)};
  const auto found = std::ranges::find_if(
      kEpsilonNames, [&](const char* end) { return loader.checkpoint().Contains(name + end); });
  const bool has_epsilon = found != std::end(kEpsilonNames);
  if (config.activation != Activation::kCRRelu) {
    if (!has_epsilon) return f;
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", Quoted(name + *found), ": an epsilon seen, expected none with ",
                     "activation_function ", Quoted(Name(config.activation))));
  }
  if (has_epsilon) {
    ASSIGN_OR_RETURN(f.epsilon, loader.Number(name + *found));
  } else if (!config.crrelu_epsilon_init) {
    return absl::NotFoundError(absl::StrCat(
        "tensor ", Quoted(name + kEpsilonNames[0]),
        ": missing, expected shape [1], as activation_function is \"crrelu\" and config.json has ",
        "no crrelu_epsilon_init"));
  }
  return f;
}

}  // namespace whipsnake::engine
