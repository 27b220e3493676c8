// How a data set is read.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_DATASET_OPTIONS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_DATASET_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "engine/finetune/data/labels.h"
#include "engine/finetune/data/row_scanner.h"
#include "engine/finetune/data/task.h"

namespace whipsnake::engine {

struct DatasetOptions {
  Task task = Task::kCausalLm;
  // Tokens of the longest sequence, at least 2. MakeExample says how longer ones are cut.
  int64_t max_length = 1024;
  // For kCausalLm: joins all texts, with `end_of_text` between them, and cuts the result into
  // windows of max_length tokens. Otherwise, each text is a sequence.
  bool packed = true;
  // The end-of-text token, which packed texts and kDpo need; -1 if the model has none.
  int32_t end_of_text = -1;
  // The tokens that the model has, from 0 on; a row with another one is a bad row. 0: all.
  int64_t vocabulary = 0;

  std::optional<RowFormat> format = std::nullopt;  // FormatOf(path) if unset
  bool header = true;             // whether the first row of a CSV file names its columns
  std::string label_column = "";  // the field or column of the label; "" for the default (row.h)
  // The labels of kClassification: the model's, or those of the training set. If empty, they are
  // the labels that are in the file.
  Labels labels = {};
  int64_t max_row_bytes = int64_t{16} << 20;  // up to 64 MiB; a longer row is a bad row

  bool packs() const { return task == Task::kCausalLm && packed; }
  // Tokens of the shortest text that can be trained on.
  int64_t shortest_text() const { return task == Task::kCausalLm && !packed ? 2 : 1; }
};

// Returns INVALID_ARGUMENT, naming all faulty fields.
absl::Status Validate(const DatasetOptions& options);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_DATASET_OPTIONS_H_
