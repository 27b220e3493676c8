// Names of the tensors of a GPT-2 checkpoint.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_GPT2_NAMES_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_GPT2_NAMES_H_

#include <string>
#include <string_view>

#include "engine/checkpoint/checkpoint.h"

namespace whipsnake::engine {

// Returns the prefix of the checkpoint's tensor names: "transformer." or "".
std::string Gpt2Prefix(const Checkpoint& checkpoint);

// The names in use for CRReLU's epsilon within the activation's module; the authors' own comes
// first.
inline constexpr const char* kEpsilonNames[] = {".lr", ".epsilon", ".eps"};

// Whether the tensor is an activation's epsilon ("transformer.h.3.mlp.act.lr").
bool IsEpsilon(std::string_view name);

// Whether the tensor is not needed here: the causal mask, which old versions of transformers stored
// in each layer as "attn.bias" and "attn.masked_bias", or the second head of a
// GPT2DoubleHeadsModel, which chooses among whole texts.
bool IsMeaningless(std::string_view name);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_GPT2_NAMES_H_
