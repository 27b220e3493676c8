// The models whose tokenizers count the tokens of data sets.
#ifndef WHIPSNAKE_SERVER_DATASETS_DATASET_MODELS_H_
#define WHIPSNAKE_SERVER_DATASETS_DATASET_MODELS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::server {

class ModelRegistry;

// What the validation of a data set needs of a model.
struct DatasetModel {
  std::string name;  // as a later call may name it; "" if there is no model
  std::shared_ptr<const engine::Tokenizer> tokenizer;  // null if there is no model
  int32_t end_of_text = -1;                            // -1 if the model has none
  int64_t vocabulary = 0;                              // the tokens that it has
  int64_t max_positions = 0;                           // of a sequence; 0: no limit
};

// Finds the model that a client names. "" names the server's only model, or none if it has several
// or none. Returns NOT_FOUND, or another error for the field "model". May wait for the disk.
// Thread-safe.
using DatasetModels = std::function<absl::StatusOr<DatasetModel>(const std::string& name)>;

// Finds models of the registry, whether they are loaded or not, and directories below the model
// root. `models` must outlive the result.
DatasetModels MakeDatasetModels(const ModelRegistry* models, std::string model_root);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_DATASETS_DATASET_MODELS_H_
