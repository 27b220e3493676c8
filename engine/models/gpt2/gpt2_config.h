// The config.json of a GPT-2 model.
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

// The "quantization_config" of a quantized transformer's config.json.
struct TransformerQuantization {
  // How the inputs of matrix products are quantized: if true, with one scale per tensor, found in
  // calibration; if false, with one scale per token, found at run time.
  bool static_activations = false;
  int64_t head_bits = 8;  // of the embedding and the head: 8 for int8 codes, 16 for bf16
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
  // CRReLU only: the epsilon of layers for which the checkpoint has none. If unset, every layer
  // must have one.
  std::optional<float> crrelu_epsilon_init;
  float norm_epsilon = 1e-5f;
  bool scale_attention = true;          // by 1 / sqrt(d / heads)
  bool scale_by_inverse_layer = false;  // and by 1 / (1 + layer)
  bool tie_embeddings = true;
  // The number of labels of a sequence classifier, whose head replaces the language-model head; 0
  // for a language model.
  int64_t labels = 0;
  // Probabilities of dropout in training: of embeddings, attention weights and layers' outputs.
  float embedding_dropout = 0.1f, attention_dropout = 0.1f, residual_dropout = 0.1f;
  std::vector<int32_t> eos_token_ids;
  double initializer_deviation = 0.02;  // standard deviation of fresh weights
  std::optional<TransformerQuantization> quantization;

  int64_t head_dim() const { return hidden_size / heads; }
  ActivationConfig activation_config() const { return {activation, crrelu_epsilon_init}; }
  TransformerBlockConfig block(int64_t layer) const;
};

// Missing keys get the documented defaults, and unknown keys are ignored. Returns INVALID_ARGUMENT,
// naming the key, the value and what was expected, or UNIMPLEMENTED for another architecture.
absl::StatusOr<Gpt2Config> ParseGpt2Config(std::string_view json);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_CONFIG_H_
