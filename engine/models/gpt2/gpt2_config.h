// config.json of a GPT-2.
#ifndef WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_CONFIG_H_
#define WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/layers/activation.h"
#include "engine/layers/transformer_block.h"
#include "kernels/activation/activation.h"

namespace whipsnake::engine {

// What a quantized transformer's config.json says under "quantization_config".
struct TransformerQuantization {
  // The inputs of its products: codes of one scale for each tensor, found in calibration; else of
  // one for each token, found as it comes.
  bool static_activations = false;
  int64_t head_bits = 8;  // of embedding and head: 8 for codes, 16 for bf16
};

// Letters as in the papers: V = vocab_size, P = positions, d = hidden_size, F = inner_size.
struct Gpt2Config {
  int64_t vocab_size = 0;
  int64_t positions = 0;
  int64_t hidden_size = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t inner_size = 0;
  kernels::Activation activation = kernels::Activation::kGeluNew;
  // Of layers whose checkpoint has no epsilon; nothing: each must have one. CRReLU's alone.
  std::optional<float> crrelu_epsilon_init;
  float norm_epsilon = 1e-5f;
  bool scale_attention = true;          // by 1 / sqrt(d / heads)
  bool scale_by_inverse_layer = false;  // and by 1 / (1 + layer)
  bool tie_embeddings = true;
  // Of a sequence classifier, which has this head in place of the language one; 0: it is none.
  int64_t labels = 0;
  std::vector<int32_t> eos_token_ids;
  double initializer_deviation = 0.02;  // of fresh weights
  std::optional<TransformerQuantization> quantization;

  int64_t head_dim() const { return hidden_size / heads; }
  ActivationConfig activation_config() const { return {activation, crrelu_epsilon_init}; }
  TransformerBlockConfig block(int64_t layer) const;
  // Of the whole model; a tied head counts once.
  int64_t parameters() const;
};

// Absent keys get the documented defaults, unknown ones are ignored. INVALID_ARGUMENT names the
// key, the value and what was expected, UNIMPLEMENTED another architecture.
absl::StatusOr<Gpt2Config> ParseGpt2Config(std::string_view json);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_CONFIG_H_
