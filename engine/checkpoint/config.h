// config.json of a model directory, whatever the architecture.
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

// What is asked of a model without regard to what it is. std::get has the rest.
struct ModelConfig {
  std::variant<MambaConfig, Gpt2Config> architecture;

  int64_t parameters() const;
  int64_t tokenizer_size() const;  // what its tokenizer has at most
  const std::vector<int32_t>& eos_token_ids() const;
  std::optional<Scheme> quantized() const;  // with which scheme, if at all
};

// INVALID_ARGUMENT as from ParseMambaConfig and its like; UNIMPLEMENTED, naming the known ones, for
// another architecture.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json);
// Of a model directory; errors name the file.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_CONFIG_H_
