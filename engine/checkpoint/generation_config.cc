#include "engine/checkpoint/generation_config.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/checkpoint/token_ids.h"

namespace whipsnake::engine {

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
  if (reader.Has("max_new_tokens")) {
    defaults.max_new_tokens = reader.Integer("max_new_tokens", 1, 1, kMaxInt32);
  }
  defaults.eos_token_ids = ReadTokenIds(reader, "eos_token_id", defaults.eos_token_ids);
  RETURN_IF_ERROR(reader.status());
  return defaults;
}

}  // namespace whipsnake::engine
