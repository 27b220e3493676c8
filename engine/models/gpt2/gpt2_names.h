// Names of the tensors of a GPT-2 checkpoint.
#ifndef WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_NAMES_H_
#define WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_NAMES_H_

#include <string>
#include <string_view>

#include "engine/checkpoint/checkpoint.h"
#include "engine/layers/activation.h"
#include "engine/layers/transformer_block.h"
#include "engine/layers/unused_tensors.h"

namespace whipsnake::engine {

// Returns the prefix of the checkpoint's tensor names: "transformer." or "".
std::string Gpt2Prefix(const Checkpoint& checkpoint);

// The name in the checkpoint of the tensor of a parameter that is named as in Gpt2Parameters().
std::string Gpt2StoredName(const Checkpoint& checkpoint, std::string_view parameter);

// The names of a block's modules.
const TransformerNames& Gpt2BlockNames();

// Whether the tensor is an activation's epsilon ("transformer.h.3.mlp.act.lr").
bool IsEpsilon(std::string_view name);

// What a tensor is that the model does not have. Leftovers are the causal mask, which old versions
// of transformers stored in each layer as "attn.bias" and "attn.masked_bias", and the second head
// of a GPT2DoubleHeadsModel, which chooses among whole texts.
Surplus Gpt2Surplus(std::string_view name);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_NAMES_H_
