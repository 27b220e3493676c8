// The config.json of a Mamba model.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_CONFIG_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/scheme.h"

namespace whipsnake::engine {

// The "quantization_config" of a quantized Mamba's config.json.
struct QuantizationConfig {
  Scheme scheme = Scheme::kQuamba;
  // Whether y is rotated by a Hadamard matrix of order E before out_proj.
  bool output_rotation = false;
  // Bits of the embedding and the head: 8 for int8 codes, 16 for bf16.
  int64_t head_bits = 8;
};

// The schemes that a Mamba can be quantized with, the default first.
inline constexpr Scheme kMambaSchemes[] = {
    Scheme::kQuamba, Scheme::kQuambaNoRotation, Scheme::kQuambaNoPercentile,
    Scheme::kStatic, Scheme::kSmoothQuant,      Scheme::kQuaRot};

// Mamba-1. Letters as in the papers: d = hidden_size, E = intermediate_size, N = state_size,
// R = time_step_rank, W = conv_kernel, V = vocab_size (padded).
struct MambaConfig {
  int64_t vocab_size = 0;
  int64_t unpadded_vocab_size = 0;  // before padding; upper bound on the size of the tokenizer
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t state_size = 16;
  int64_t layers = 0;
  int64_t conv_kernel = 4;
  int64_t time_step_rank = 0;
  float norm_epsilon = 1e-5f;
  bool use_bias = false;  // of in_proj and out_proj
  bool use_conv_bias = true;
  bool tie_embeddings = true;
  // The original state-spaces form, whose checkpoints have the name backbone.embedding instead of
  // Hugging Face's backbone.embeddings.
  bool original_form = false;
  // The number of labels of a sequence classifier, whose head replaces the language-model head and
  // reads the last token; 0 for a language model. Hugging Face has no such model: its architecture
  // is named "MambaForSequenceClassification" here.
  int64_t labels = 0;
  std::vector<int32_t> eos_token_ids;
  std::optional<QuantizationConfig> quantization;  // unset if the checkpoint holds floats

  // How fresh weights are drawn. Not used for trained models.
  struct Initialization {
    double embedding_deviation = 0.1;
    double time_step_min = 0.001;
    double time_step_max = 0.1;
    double time_step_floor = 1e-4;
    double time_step_scale = 1.0;
    bool rescale_out_proj = false;  // divide by the square root of the number of layers
  } initialization;
};

// Accepts both forms: Hugging Face's (hidden_size, num_hidden_layers, ...; vocab_size is already
// padded) and the original state-spaces one (d_model, n_layer, ssm_cfg, ...; vocab_size is padded
// here to pad_vocab_size_multiple). Missing keys get the form's documented defaults, and unknown
// keys are ignored. Returns INVALID_ARGUMENT, naming the key, the value and what was expected, for
// a wrong type, an implausible or contradictory size, a duplicate key, or an unsupported variant;
// UNIMPLEMENTED for another architecture or blocks that are not Mamba-1's.
absl::StatusOr<MambaConfig> ParseMambaConfig(std::string_view json);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_MAMBA_CONFIG_H_
