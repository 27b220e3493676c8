#include "engine/checkpoint/generation_config.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/checkpoint/token_ids.h"

namespace whipsnake::engine {

namespace {

using nlohmann::json;

// The keys of transformers that change what is generated and are not read here, with the values
// with which they do nothing. null always does nothing.
struct IgnoredKey {
  std::string_view name;
  double neutral;
};
constexpr std::string_view kMaxLength = "max_length";  // of prompt and output together
constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();
constexpr IgnoredKey kIgnoredKeys[] = {
    {kMaxLength, 20},
    {"num_beams", 1},
    {"num_beam_groups", 1},
    {"diversity_penalty", 0},
    {"penalty_alpha", 0},
    {"typical_p", 1},
    {"top_h", kNoNumber},
    {"epsilon_cutoff", 0},
    {"eta_cutoff", 0},
    {"guidance_scale", 1},
    {"encoder_repetition_penalty", 1},
    {"encoder_no_repeat_ngram_size", 0},
    {"min_length", 0},
    {"min_new_tokens", 0},
    {"max_time", kNoNumber},
    {"stop_strings", kNoNumber},
    {"bad_words_ids", kNoNumber},
    {"force_words_ids", kNoNumber},
    {"constraints", kNoNumber},
    {"sequence_bias", kNoNumber},
    {"suppress_tokens", kNoNumber},
    {"begin_suppress_tokens", kNoNumber},
    {"forced_bos_token_id", kNoNumber},
    {"forced_eos_token_id", kNoNumber},
    {"exponential_decay_length_penalty", kNoNumber},
    {"dola_layers", kNoNumber},
    {"watermarking_config", kNoNumber},
};

bool IsNeutral(const json& value, double neutral) {
  if (value.is_number()) return value.get<double>() == neutral;
  return value.is_null() || (value.is_structured() && value.empty());
}

// Whether the file has what takes the place of max_length in transformers too.
bool HasMaxNewTokens(const json& document) {
  const auto found = document.find("max_new_tokens");
  return found != document.end() && !found->is_null();
}

std::vector<std::string> FindIgnored(const json& document) {
  std::vector<std::string> ignored;
  for (const IgnoredKey& key : kIgnoredKeys) {
    const auto found = document.find(std::string(key.name));
    if (found == document.end() || IsNeutral(*found, key.neutral)) continue;
    if (key.name == kMaxLength && HasMaxNewTokens(document)) continue;
    const std::string value = Described(*found);
    ignored.push_back(found->is_structured() ? absl::StrCat(ToAbsl(key.name), " (", value, ")")
                                             : absl::StrCat(ToAbsl(key.name), " ", value));
  }
  return ignored;
}

}  // namespace

absl::StatusOr<GenerationDefaults> ParseGenerationConfig(std::string_view text,
                                                         GenerationDefaults defaults) {
  constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();
  ASSIGN_OR_RETURN(const nlohmann::json document, ParsePythonJsonObject(text));
  JsonObjectReader reader(document);
  if (reader.Has("temperature")) defaults.temperature = reader.Number("temperature", 0, 0, 100);
  if (!reader.Boolean("do_sample", true)) defaults.temperature = 0.0f;
  if (reader.Has("top_k")) defaults.top_k = reader.Integer("top_k", 0, 0, kMaxInt32);
  if (reader.Has("top_p")) defaults.top_p = reader.Number("top_p", 1, 0, 1, true);
  if (reader.Has("min_p")) defaults.min_p = reader.Number("min_p", 0, 0, 1);
  if (reader.Has("repetition_penalty")) {
    defaults.repetition_penalty = reader.Number("repetition_penalty", 1, 0.01, 100);
  }
  if (reader.Has("no_repeat_ngram_size")) {
    defaults.no_repeat_ngram_size = reader.Integer("no_repeat_ngram_size", 0, 0, 1024);
  }
  if (reader.Has("max_new_tokens")) {
    defaults.max_new_tokens = reader.Integer("max_new_tokens", 1, 1, kMaxInt32);
  }
  defaults.eos_token_ids = ReadTokenIds(reader, "eos_token_id", defaults.eos_token_ids);
  RETURN_IF_ERROR(reader.status());
  defaults.ignored = FindIgnored(document);
  return defaults;
}

}  // namespace whipsnake::engine
