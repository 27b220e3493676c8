// Reads the architecture from a config.json. Used by the config parsers.
#ifndef WHIPSNAKE_ENGINE_MODELS_ARCHITECTURE_H_
#define WHIPSNAKE_ENGINE_MODELS_ARCHITECTURE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/json_reader.h"

namespace whipsnake::engine {

// Returns "model_type", or "mamba" for the original form, which has "d_model" and no "model_type".
// Returns INVALID_ARGUMENT if the config has neither key.
absl::StatusOr<std::string> ReadArchitecture(JsonObjectReader& reader);

// Returns OK if the architecture is `expected` and UNIMPLEMENTED if it is another one; errors as
// from ReadArchitecture.
absl::Status CheckArchitecture(JsonObjectReader& reader, std::string_view expected);

// Returns the number of labels of a sequence classifier, whose "architectures" have the name
// `classifier`; 0 for other models.
int64_t ReadLabels(JsonObjectReader& reader, std::string_view classifier);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_ARCHITECTURE_H_
