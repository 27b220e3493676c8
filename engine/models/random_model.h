// Writes model directories with random weights, for benchmarks and tests of published shapes.
#ifndef WHIPSNAKE_ENGINE_MODELS_RANDOM_MODEL_H_
#define WHIPSNAKE_ENGINE_MODELS_RANDOM_MODEL_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace whipsnake::engine {

// Writes a directory that loads like a downloaded one: config.json as given, model.safetensors in
// F32 with the architecture's usual initialization and the names of the config's form,
// tokenizer.json with a byte-level BPE of exactly the config's vocab_size (unpadded), and
// generation_config.json. The same config and seed give the same bytes. Weights are drawn and
// written in pieces, so a large model needs little memory.
//
// The directory is written completely or not at all. Returns ALREADY_EXISTS unless `directory` is
// absent or an empty directory, NOT_FOUND if its parent does not exist, INVALID_ARGUMENT as from
// ParseModelConfig and for a vocab_size below 257 (<|endoftext|> and 256 bytes), and
// RESOURCE_EXHAUSTED, before any file is written, if the disk has too little room. `progress` is
// called on the calling thread with the fraction done, rising to 1.
absl::Status WriteRandomModel(std::string_view config_json, uint64_t seed,
                              const std::string& directory,
                              const std::function<void(double)>& progress = nullptr);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_RANDOM_MODEL_H_
