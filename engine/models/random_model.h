// A model directory with random weights, for benchmarks and tests of published shapes.
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
// The directory appears whole or not at all. ALREADY_EXISTS if `directory` is anything but absent
// or an empty directory, NOT_FOUND without its parent; INVALID_ARGUMENT as from ParseModelConfig,
// and for a vocab_size below 257 (<|endoftext|> and 256 bytes); RESOURCE_EXHAUSTED, before anything
// is written, where the disk has too little room. `progress` is told the share that is done, rising
// to 1, from the calling thread.
absl::Status WriteRandomModel(std::string_view config_json, uint64_t seed,
                              const std::string& directory,
                              const std::function<void(double)>& progress = nullptr);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_RANDOM_MODEL_H_
