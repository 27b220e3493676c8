// Writes a model's weights in the format that this program writes itself.
#ifndef WHIPSNAKE_ENGINE_MODELS_CONVERT_FORMAT_H_
#define WHIPSNAKE_ENGINE_MODELS_CONVERT_FORMAT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "engine/layers/unused_tensors.h"

namespace whipsnake::engine {

// What was written and what was not.
struct FormatConversion {
  int64_t tensors = 0;
  int64_t bytes = 0;       // of the tensors
  int64_t repeats = 0;     // left out, because the config ties them to an equal tensor
  UnusedTensors left_out;  // of types that the engine cannot compute with; without known leftovers
};

// Writes the model in `directory` to `out`, with all weights bit for bit in one model.safetensors,
// the same config.json, and the tokenizer's files. The directory is written completely or not at
// all. Errors as from ReadModelConfig() and Checkpoint::Open(); ALREADY_EXISTS, NOT_FOUND and
// RESOURCE_EXHAUSTED as from WriteRandomModel().
absl::StatusOr<FormatConversion> ConvertToSafetensors(const std::string& directory,
                                                      const std::string& out);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_CONVERT_FORMAT_H_
