#include "engine/models/model.h"

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/config.h"
#include "engine/checkpoint/files.h"
#include "engine/models/mamba.h"

namespace whipsnake::engine {

absl::StatusOr<ModelOptions> ParseModelOptions(std::string_view scheme,
                                               std::string_view state_type) {
  ModelOptions options;
  if (!scheme.empty()) {
    ASSIGN_OR_RETURN(options.scheme, ParseScheme(scheme));
  }
  if (state_type == "bf16") {
    options.state_type = kernels::DType::kBF16;
  } else if (state_type == "int8") {
    options.state_type = kernels::DType::kI8;
  } else if (!state_type.empty() && state_type != "fp32") {
    return InvalidField("state_type", Quoted(state_type), "fp32, bf16 or int8");
  }
  return options;
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& directory,
                                                 const ModelOptions& options,
                                                 const ModelEnvironment& environment) {
  const std::string path = directory + "/config.json";
  ASSIGN_OR_RETURN(const std::string json, ReadTextFile(path));
  const auto architecture = ParseArchitecture(json);
  if (!architecture.ok()) return WithContext(architecture.status(), path);
  if (*architecture != "mamba") {
    return absl::UnimplementedError(
        absl::StrCat(path, ": model_type \"", *architecture, "\" seen, expected \"mamba\""));
  }
  auto config = ParseMambaConfig(json);
  if (!config.ok()) return WithContext(config.status(), path);
  ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::Open(directory));
  auto model = MakeMamba(*config, std::move(checkpoint), options, environment);
  if (!model.ok()) return WithContext(model.status(), directory);
  return model;
}

}  // namespace whipsnake::engine
