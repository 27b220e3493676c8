// A model's config.json, of whatever family.
#ifndef WHIPSNAKE_ENGINE_MODELS_CONFIG_H_
#define WHIPSNAKE_ENGINE_MODELS_CONFIG_H_

#include <any>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/scheme.h"

namespace whipsnake::engine {

struct Family;

struct ModelConfig {
  const Family* family = nullptr;
  std::any architecture;  // the family's own struct, such as MambaConfig

  int64_t parameters = 0;      // of the whole model; a tied head counts once
  int64_t tokenizer_size = 0;  // the largest number of tokens that its tokenizer may have
  std::vector<int32_t> eos_token_ids;
  std::optional<Scheme> quantized;  // the scheme that the weights were quantized with

  // The family's own struct, which must be a T.
  template <typename T>
  const T& As() const {
    return *std::any_cast<T>(&architecture);
  }
};

// Parses config.json. Returns INVALID_ARGUMENT, naming the key, the value and what was expected,
// for a config that its family refuses; UNIMPLEMENTED, naming the known ones, for an architecture
// of no family.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json);
// Reads and parses the config.json of a model directory; errors name the file.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_CONFIG_H_
