#include "server/datasets/dataset_models.h"

#include <optional>
#include <utility>
#include <vector>

#include "engine/base/files.h"
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

struct ModelFiles {
  std::string tokenizer, config;
};

absl::StatusOr<ModelFiles> FilesOf(const ModelRegistry& models, const std::string& root,
                                   const std::string& name) {
  if (const auto served = models.Get(name); served.ok()) {
    const std::string& directory = served->source.directory;
    return ModelFiles{directory + "/tokenizer.json", directory + "/config.json"};
  } else if (root.empty()) {
    return served.status();
  }
  ModelFiles files;
  ASSIGN_OR_RETURN(files.tokenizer, ResolveFile(root, name + "/tokenizer.json", "model"));
  ASSIGN_OR_RETURN(files.config, ResolveFile(root, name + "/config.json", "model"));
  return files;
}

absl::StatusOr<DatasetModel> Read(std::string name, const ModelFiles& files) {
  DatasetModel model;
  ASSIGN_OR_RETURN(model.tokenizer, engine::Tokenizer::Load(files.tokenizer));
  ASSIGN_OR_RETURN(const std::string text, engine::ReadTextFile(files.config));
  const absl::StatusOr<engine::ModelConfig> config = engine::ParseModelConfig(text);
  if (!config.ok()) return engine::WithPath(config.status(), files.config);
  model.name = std::move(name);
  if (!config->eos_token_ids.empty()) model.end_of_text = config->eos_token_ids.front();
  model.max_positions = config->max_positions;
  return model;
}

}  // namespace

DatasetModels MakeDatasetModels(const ModelRegistry* models, std::string model_root) {
  return [models,
          root = std::move(model_root)](const std::string& asked) -> absl::StatusOr<DatasetModel> {
    const std::string name = asked.empty() ? OnlyModel(*models) : asked;
    if (name.empty()) return DatasetModel();
    ASSIGN_OR_RETURN(const ModelFiles files, FilesOf(*models, root, name));
    absl::StatusOr<DatasetModel> model = Read(name, files);
    if (!model.ok()) return AsCheckpointError(model.status());
    return model;
  };
}

}  // namespace whipsnake::server
