// config.json of a model directory, for any architecture.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_CONFIG_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/scheme.h"
#include "engine/checkpoint/gpt2_config.h"
#include "engine/checkpoint/mamba_config.h"

namespace whipsnake::engine {

// Properties common to all architectures. Use std::get on `architecture` for the others.
struct ModelConfig {
  std::variant<MambaConfig, Gpt2Config> architecture;

  int64_t parameters() const;
  int64_t tokenizer_size() const;  // upper bound on the size of the tokenizer
  const std::vector<int32_t>& eos_token_ids() const;
  std::optional<Scheme> quantized() const;  // the scheme; nullopt if not quantized
};

// Returns INVALID_ARGUMENT as ParseMambaConfig and ParseGpt2Config do, and UNIMPLEMENTED, naming
// the known architectures, for another one.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json);
// Reads config.json of a model directory. Errors name the file.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_CONFIG_H_
