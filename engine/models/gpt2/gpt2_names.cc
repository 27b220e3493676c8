#include "engine/models/gpt2/gpt2_names.h"

#include <algorithm>

namespace whipsnake::engine {
namespace {

constexpr std::string_view kPrefix = "transformer.";

}  // namespace

std::string Gpt2Prefix(const Checkpoint& checkpoint) {
  const auto& tensors = checkpoint.tensors();
  const auto found = tensors.lower_bound(kPrefix);
  const bool prefixed = found != tensors.end() && found->first.starts_with(kPrefix);
  return std::string(prefixed ? kPrefix : "");
}

std::string Gpt2StoredName(const Checkpoint& checkpoint, std::string_view parameter) {
  std::string name(parameter);
  if (parameter.starts_with(kPrefix)) {
    name = Gpt2Prefix(checkpoint) + name.substr(kPrefix.size());
  }
  if (!IsEpsilon(name)) return name;
  const std::string module = name.substr(0, name.rfind('.'));
  for (const char* end : kEpsilonNames) {
    if (checkpoint.Contains(module + end)) return module + end;
  }
  return name;
}

const TransformerNames& Gpt2BlockNames() {
  static const TransformerNames* const names = new TransformerNames{
      .attention_norm = "ln_1",
      .attention_inputs = {"attn.c_attn"},
      .attention_output = "attn.c_proj",
      .feed_forward_norm = "ln_2",
      .feed_forward_input = "mlp.c_fc",
      .feed_forward_output = "mlp.c_proj",
      .activation = "mlp.act",
  };
  return *names;
}

bool IsEpsilon(std::string_view name) {
  return std::ranges::any_of(kEpsilonNames, [&](const char* end) {
    return name.ends_with(std::string(".mlp.act") + end);
  });
}

Surplus Gpt2Surplus(std::string_view name) {
  if (IsLeftoverBuffer(name) || name.ends_with(".attn.bias") ||
      name.ends_with(".attn.masked_bias") || name.starts_with("multiple_choice_head.")) {
    return Surplus::kLeftover;
  }
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  constexpr std::string_view kModules[] = {"wte.", "wpe.", "h.", "ln_f.", "lm_head."};
  const bool of_layers = std::ranges::any_of(
      kModules, [&](std::string_view module) { return name.starts_with(module); });
  return of_layers ? Surplus::kOfLayers : Surplus::kForeign;
}

}  // namespace whipsnake::engine
