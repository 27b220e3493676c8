// Parses any text as config.json and as generation_config.json. The text must be refused with a
// message, or give values within the bounds that the rest of the engine relies on.
#include <string_view>

#include "engine/checkpoint/generation_config.h"
#include "engine/models/config.h"
#include "engine/models/gpt2/gpt2_parameters.h"
#include "engine/models/mamba/mamba_parameters.h"

namespace {

using whipsnake::engine::GenerationDefaults;
using whipsnake::engine::Gpt2Config;
using whipsnake::engine::MambaConfig;
using whipsnake::engine::ParameterSpec;

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

void RequireRefusal(const absl::Status& status) {
  Require(status.code() == absl::StatusCode::kInvalidArgument ||
          status.code() == absl::StatusCode::kUnimplemented);
  Require(!status.message().empty());
}

void RequireIds(const std::vector<int32_t>& ids) {
  for (const int32_t id : ids) Require(id >= 0);
}

void RequireCountable(const std::vector<ParameterSpec>& parameters) {
  const int64_t count = CountParameters(parameters);
  Require(count > 0 && count < int64_t{1} << 60);
}

void RequireBounds(const MambaConfig& config) {
  Require(config.unpadded_vocab_size >= 1 && config.unpadded_vocab_size <= config.vocab_size);
  for (const int64_t size : {config.hidden_size, config.intermediate_size, config.state_size,
                             config.layers, config.conv_kernel, config.time_step_rank}) {
    Require(size >= 1 && size <= int64_t{1} << 26);
  }
  Require(config.intermediate_size <= int64_t{1} << 18);
  Require(config.norm_epsilon >= 0);
  RequireCountable(MambaParameters(config));
  Require(config.initialization.time_step_min > 0);
  Require(config.initialization.time_step_min <= config.initialization.time_step_max);
  RequireIds(config.eos_token_ids);
}

void RequireBounds(const Gpt2Config& config) {
  for (const int64_t size : {config.vocab_size, config.positions, config.hidden_size, config.layers,
                             config.heads, config.inner_size}) {
    Require(size >= 1 && size <= int64_t{1} << 24);
  }
  Require(config.hidden_size % config.heads == 0);
  Require(config.norm_epsilon >= 0);
  RequireCountable(Gpt2Parameters(config));
  RequireIds(config.eos_token_ids);
}

void RequireBounds(const GenerationDefaults& defaults) {
  Require(!defaults.temperature || *defaults.temperature >= 0);
  Require(!defaults.top_k || *defaults.top_k >= 0);
  Require(!defaults.top_p || (*defaults.top_p > 0 && *defaults.top_p <= 1));
  Require(!defaults.min_p || (*defaults.min_p >= 0 && *defaults.min_p <= 1));
  Require(!defaults.repetition_penalty ||
          (*defaults.repetition_penalty >= 0.01f && *defaults.repetition_penalty <= 100));
  Require(!defaults.no_repeat_ngram_size ||
          (*defaults.no_repeat_ngram_size >= 0 && *defaults.no_repeat_ngram_size <= 1024));
  Require(!defaults.max_new_tokens || *defaults.max_new_tokens >= 1);
  RequireIds(defaults.eos_token_ids);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = whipsnake::engine::ParseMambaConfig(text);
  config.ok() ? RequireBounds(*config) : RequireRefusal(config.status());
  const auto gpt2 = whipsnake::engine::ParseGpt2Config(text);
  gpt2.ok() ? RequireBounds(*gpt2) : RequireRefusal(gpt2.status());
  const auto any = whipsnake::engine::ParseModelConfig(text);
  if (!any.ok()) RequireRefusal(any.status());
  Require(any.ok() == (config.ok() || gpt2.ok()));
  const auto defaults = whipsnake::engine::ParseGenerationConfig(text);
  defaults.ok() ? RequireBounds(*defaults) : RequireRefusal(defaults.status());
  return 0;
}
