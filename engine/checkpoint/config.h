// config.json and generation_config.json of a model directory.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_CONFIG_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// Mamba-1. Letters as in the papers: d = hidden_size, E = intermediate_size, N = state_size, R = time_step_rank,
// W = conv_kernel, V = vocab_size (padded).
struct MambaConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t state_size = 16;
  int64_t layers = 0;
  int64_t conv_kernel = 4;
  int64_t time_step_rank = 0;
  float norm_epsilon = 1e-5f;
  bool use_bias = false;       // of in_proj and out_proj
  bool use_conv_bias = true;
  bool tie_embeddings = true;
  std::vector<int32_t> eos_token_ids;

  int64_t parameters() const;
};

// Understands both forms: Hugging Face's (hidden_size, num_hidden_layers, ...; vocab_size already padded) and the original
// state-spaces one (d_model, n_layer, ssm_cfg, ...; vocab_size is padded here to pad_vocab_size_multiple). Absent keys get
// the form's documented defaults. INVALID_ARGUMENT names the key, the value and what was expected: wrong type, absurd or
// contradictory size, an unsupported variant; UNIMPLEMENTED another architecture.
absl::StatusOr<MambaConfig> ParseMambaConfig(std::string_view json);

// The "model_type" of a config.json ("mamba" for the original form, which has none).
absl::StatusOr<std::string> ParseArchitecture(std::string_view json);

// Defaults for sampling. What the file does not name is unset. `do_sample: false` is temperature 0.
struct GenerationDefaults {
  std::optional<float> temperature;
  std::optional<int64_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<int64_t> max_new_tokens;
  std::vector<int32_t> eos_token_ids;  // one id or a list in the file
};
absl::StatusOr<GenerationDefaults> ParseGenerationConfig(std::string_view json);

// The whole file as text; NOT_FOUND, or INVALID_ARGUMENT past `max_bytes`.
absl::StatusOr<std::string> ReadTextFile(const std::string& path, int64_t max_bytes = int64_t{64} << 20);

// Writes a file whole or not at all: a temporary beside it, fsync, rename.
absl::Status WriteFileAtomically(const std::string& path, std::string_view contents);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_CONFIG_H_
