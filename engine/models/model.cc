#include "engine/models/model.h"

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/models/config.h"
#include "engine/models/family.h"

namespace whipsnake::engine {

std::vector<std::span<const std::byte>> DecodeWeights(const Model& model) {
  std::vector<std::span<const std::byte>> weights;
  model.VisitParameters([&](const Parameter& parameter) {
    if (parameter.read_by_every_step) weights.push_back(parameter.bytes);
  });
  return weights;
}

absl::Status CheckLanguageModel(const ModelInfo& info) {
  if (info.labels == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("a sequence classifier of ", info.labels,
                                                    " labels seen, expected a language model"));
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ModelConfig& config,
                                                 std::shared_ptr<const Checkpoint> checkpoint,
                                                 const ModelOptions& options,
                                                 const ModelEnvironment& environment) {
  RETURN_IF_ERROR(CheckOptions(options, config));
  auto model = config.family->make_model(config, checkpoint, options, environment);
  RETURN_IF_ERROR(checkpoint->Check());  // first, as changed files may cause other errors
  return model;
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& directory,
                                                 const ModelOptions& options,
                                                 const ModelEnvironment& environment) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(directory));
  ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::Open(directory));
  auto model = LoadModel(config, std::move(checkpoint), options, environment);
  if (!model.ok()) return WithPath(model.status(), directory);
  return model;
}

}  // namespace whipsnake::engine
