// config.json of a model directory, for any family of models.
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

// Properties common to all families. Use As() for the others.
struct ModelConfig {
  const Family* family = nullptr;
  std::any architecture;  // the family's own struct, such as MambaConfig

  int64_t parameters = 0;      // of the whole model; a tied head is counted once
  int64_t tokenizer_size = 0;  // upper bound on the size of the tokenizer
  int64_t vocab_size = 0;      // rows of the embedding, including padding
  int64_t max_positions = 0;   // tokens of the longest sequence; 0: no limit
  std::vector<int32_t> eos_token_ids;
  std::optional<Scheme> quantized;  // the scheme; nullopt if not quantized

  // The family's own struct, which must be a T.
  template <typename T>
  const T& As() const {
    return *std::any_cast<T>(&architecture);
  }
};

// Parses config.json. Returns INVALID_ARGUMENT, naming the key, the value and what was expected,
// for a config that its family does not accept, and UNIMPLEMENTED, naming the known architectures,
// for another one.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json);
// Reads config.json of a model directory. Errors name the file.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_CONFIG_H_
