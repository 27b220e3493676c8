// Mamba-1 language models.
#ifndef WHIPSNAKE_ENGINE_MODELS_MAMBA_H_
#define WHIPSNAKE_ENGINE_MODELS_MAMBA_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

// As LoadModel, for a directory whose config.json is `config_json`.
absl::StatusOr<std::unique_ptr<Model>> LoadMamba(const std::string& directory,
                                                 std::string_view config_json, Scheme scheme,
                                                 const ModelEnvironment& environment);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_MAMBA_H_
