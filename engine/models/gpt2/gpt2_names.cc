#include "engine/models/gpt2/gpt2_names.h"

#include <algorithm>

namespace whipsnake::engine {

std::string Gpt2Prefix(const Checkpoint& checkpoint) {
  const std::string prefix = "transformer.";
  const auto& tensors = checkpoint.tensors();
  const auto found = tensors.lower_bound(prefix);
  return found != tensors.end() && found->first.starts_with(prefix) ? prefix : "";
}

std::string Gpt2StoredName(const Checkpoint& checkpoint, std::string_view parameter) {
  constexpr std::string_view kPrefix = "transformer.";
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

bool IsIgnoredTensor(std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") ||
         name.starts_with("multiple_choice_head.");
}

}  // namespace whipsnake::engine
