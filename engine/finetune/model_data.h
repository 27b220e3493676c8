// What a model directory says about the data of its model.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_MODEL_DATA_H_
#define WHIPSNAKE_ENGINE_FINETUNE_MODEL_DATA_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "engine/finetune/labels.h"

namespace whipsnake::engine {

// Returns the names of a classifier's `count` labels: those of config.json or, if it has none,
// "LABEL_0", "LABEL_1", ..., as `transformers` calls them. Returns INVALID_ARGUMENT, naming the
// file, if it names another number of labels.
absl::StatusOr<Labels> ReadModelLabels(const std::string& directory, int64_t count);

// Returns the first end-of-sequence token of generation_config.json or, if it has none, of
// config.json; -1 if there is none. Errors name the file.
absl::StatusOr<int32_t> ReadEndOfText(const std::string& directory);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_MODEL_DATA_H_
