#include "server/datasets/dataset_models.h"

#include <optional>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/models/config.h"
#include "server/errors.h"
#include "server/registry/model_path.h"
#include "server/registry/model_registry.h"

namespace whipsnake::server {
namespace {

// The only model that has not failed, or "".
std::string OnlyModel(const ModelRegistry& models) {
  std::string only;
  for (const ModelSnapshot& model : models.List()) {
    if (model.state == ModelState::kFailed) continue;
    if (!only.empty()) return "";
    only = model.source.name;
  }
  return only;
}

absl::StatusOr<std::string> DirectoryOf(const ModelRegistry& models, const std::string& root,
                                        const std::string& name) {
  if (const auto served = models.Get(name); served.ok()) {
    return served->source.directory;
  } else if (root.empty()) {
    return served.status();
  }
  return ResolveModelPath(root, name, "model");
}

absl::StatusOr<DatasetModel> Read(std::string name, const std::string& directory) {
  DatasetModel model;
  ASSIGN_OR_RETURN(model.tokenizer, engine::Tokenizer::LoadDirectory(directory));
  ASSIGN_OR_RETURN(const engine::ModelConfig config, engine::ReadModelConfig(directory));
  model.name = std::move(name);
  if (!config.eos_token_ids.empty()) model.end_of_text = config.eos_token_ids.front();
  model.vocabulary = config.vocab_size;
  model.max_positions = config.max_positions;
  return model;
}

}  // namespace

DatasetModels MakeDatasetModels(const ModelRegistry* models, std::string model_root) {
  return [models,
          root = std::move(model_root)](const std::string& asked) -> absl::StatusOr<DatasetModel> {
    const std::string name = asked.empty() ? OnlyModel(*models) : asked;
    if (name.empty()) return DatasetModel();
    ASSIGN_OR_RETURN(const std::string directory, DirectoryOf(*models, root, name));
    absl::StatusOr<DatasetModel> model = Read(name, directory);
    if (!model.ok()) return AsCheckpointError(model.status());
    return model;
  };
}

}  // namespace whipsnake::server
