// One row of a data set, before it is tokenized, and how it is parsed.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_ROW_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_ROW_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/finetune/data/task.h"

namespace whipsnake::engine {

struct Row {
  std::string input;                   // the text, or the prompt
  std::vector<std::string> responses;  // the choices, or chosen and rejected
  std::string label;                   // classification: an integer is in decimal
  int32_t choice = 0;                  // choice: the index of the right one
  float value = 0;                     // regression: finite
  std::vector<std::string> ignored;    // fields that the task does not use
};

// Parses the rows of one file. Immutable and thread-safe.
class RowParser {
 public:
  virtual ~RowParser() = default;

  // Returns INVALID_ARGUMENT, with the field attached (FieldOf), if `text` is not a row of the
  // task.
  virtual absl::StatusOr<Row> Parse(std::string_view text) const = 0;
};

// Parses JSON objects with the fields that task.h lists. The label is in the field `label`.
std::unique_ptr<RowParser> MakeJsonRowParser(Task task, std::string label = "label");

// The columns of a CSV file without a header line: "column 1", ...
std::vector<std::string> NumberedColumns(size_t count);

// Parses CSV rows with these columns, whose names must differ.
//  - The label is in the column `label`; if that is "", in the column "label" or, without one, in
//    the last.
//  - The text is in the column "text" or, without one, is all columns but the label's, joined by
//    spaces.
//  - A pair of responses is in the columns "prompt", "chosen" and "rejected" or, if there are three
//    numbered columns, in this order.
// Returns INVALID_ARGUMENT if a column is missing or the task is kChoice, whose list of choices CSV
// has no form for.
absl::StatusOr<std::unique_ptr<RowParser>> MakeCsvRowParser(Task task,
                                                            std::vector<std::string> columns,
                                                            std::string_view label = "");

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_ROW_H_
