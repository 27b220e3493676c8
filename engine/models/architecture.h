// Which of the known architectures a config.json is of. For the parsers of configs.
#ifndef WHIPSNAKE_ENGINE_MODELS_ARCHITECTURE_H_
#define WHIPSNAKE_ENGINE_MODELS_ARCHITECTURE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/json.h"

namespace whipsnake::engine {

// The "model_type" ("mamba" for the original form, which has none); INVALID_ARGUMENT without it.
absl::StatusOr<std::string> ReadArchitecture(JsonObjectReader& reader);

// The same, or UNIMPLEMENTED where it is not `expected`.
absl::Status CheckArchitecture(JsonObjectReader& reader, std::string_view expected);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_ARCHITECTURE_H_
