// generation_config.json of a model directory.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_GENERATION_CONFIG_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_GENERATION_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

// Sampling defaults. Keys that are missing in the file keep the value that they had before, and are
// unset by default. `do_sample: false` means temperature 0.
struct GenerationDefaults {
  std::optional<float> temperature;             // 0 to 100
  std::optional<int64_t> top_k;                 // 0 is off
  std::optional<float> top_p;                   // in (0, 1]
  std::optional<float> min_p;                   // in [0, 1]
  std::optional<float> repetition_penalty;      // 0.01 to 100
  std::optional<int64_t> no_repeat_ngram_size;  // 0 is off, at most 1024
  std::optional<int64_t> max_new_tokens;        // 1 or more
  std::vector<int32_t> eos_token_ids;           // one id or a list in the file
  // What else the file asks of transformers and is not done here: "num_beams 4".
  std::vector<std::string> ignored;
};
// Returns `defaults` with what the file says. Returns INVALID_ARGUMENT, naming the key, the value
// and what was expected.
absl::StatusOr<GenerationDefaults> ParseGenerationConfig(std::string_view json,
                                                         GenerationDefaults defaults = {});

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_GENERATION_CONFIG_H_
