#include "engine/finetune/export_checkpoint.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/finetune/data/labels.h"
#include "engine/finetune/result.h"
#include "engine/finetune/task_config.h"
#include "engine/finetune/training_checkpoint.h"
#include "engine/models/trainable_model.h"

namespace whipsnake::engine {
namespace {

// The config.json of the run's result.
absl::StatusOr<std::string> ResultConfig(const TrainingCheckpoint& checkpoint,
                                         const std::string& source) {
  ASSIGN_OR_RETURN(const std::string config, ReadTextFile(source + "/config.json"));
  ASSIGN_OR_RETURN(const nlohmann::json identity, ParseJsonObject(checkpoint.identity()));
  ASSIGN_OR_RETURN(const Task task, ParseTask(identity.value("task", "")));
  std::vector<std::string> names;
  if (identity.contains("labels")) names = identity.at("labels").get<std::vector<std::string>>();
  ASSIGN_OR_RETURN(const Labels labels, Labels::Make(std::move(names)));
  return ConfigForTask(config, task, labels);
}

}  // namespace

absl::Status ExportCheckpoint(const std::string& directory, const std::string& source,
                              kernels::DType dtype, const std::string& out, Ledger& ledger) {
  ASSIGN_OR_RETURN(const TrainingCheckpoint checkpoint, TrainingCheckpoint::Open(directory));
  ASSIGN_OR_RETURN(const std::string config_text, ResultConfig(checkpoint, source));
  ASSIGN_OR_RETURN(const ModelConfig config, ParseModelConfig(config_text));
  ASSIGN_OR_RETURN(const auto weights, Checkpoint::Open(source));
  ASSIGN_OR_RETURN(const auto model, TrainableModel::Load(config, *weights, {}, ledger));
  RETURN_IF_ERROR(checkpoint.RestoreParameters(model->parameters()));
  return WriteResult(model->parameters(), {.source = source, .config = config_text, .dtype = dtype},
                     out);
}

}  // namespace whipsnake::engine
