// What the validation of a data set found.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_DATASET_REPORT_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_DATASET_REPORT_H_

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/finetune/data/repeated_rows.h"
#include "engine/finetune/data/row_scanner.h"
#include "engine/finetune/data/task.h"

namespace whipsnake::engine {

struct BadRow {
  int64_t line = 0;     // where the row begins, counted from 1
  std::string field;    // "label", "choices[1]"; "row" for the row as a whole
  std::string message;  // "label: true seen, expected a string or an integer"
};

// Lengths of rows in tokens, before they are cut. That of a prompt with responses is that of the
// prompt and the longest response.
struct LengthSummary {
  int64_t shortest = 0;
  int64_t median = 0;
  int64_t percentile_95 = 0;
  int64_t longest = 0;
  std::vector<int64_t> histogram;  // [i]: the number of rows of 2^i to 2^(i+1) - 1 tokens
};
// Sorts `lengths`, all of which are at least 1. Percentiles are by nearest rank.
LengthSummary Summarize(std::vector<int32_t>& lengths);

struct ValueSummary {
  double least = 0, mean = 0, greatest = 0;
};

struct LabelCount {
  std::string name;
  int64_t rows = 0;
};

struct DatasetReport {
  std::string path;
  Task task = Task::kCausalLm;
  RowFormat format = RowFormat::kJsonLines;
  int64_t bytes = 0;
  std::string digest;  // of the file

  int64_t good_rows = 0;
  int64_t bad_rows = 0;
  std::vector<BadRow> first_bad_rows;  // at most 100

  // All that follows is about the good rows, unless it says otherwise.
  int64_t tokens = 0;  // of all texts, prompts and responses
  LengthSummary lengths;
  int64_t max_length = 0;
  bool packed = false;
  int64_t cut_rows = 0;    // longer than max_length; 0 if packed
  int64_t empty_rows = 0;  // bad rows whose text, prompt or response has too few tokens

  std::vector<LabelCount> labels;                 // kClassification: all labels, in order
  std::map<std::string, int64_t> unknown_labels;  // bad rows by label; the first 100 labels
  std::optional<ValueSummary> values;             // kRegression
  int64_t equal_responses = 0;                    // kDpo: rows whose responses are the same

  RepeatedRows repeated;       // rows with the text of an earlier row
  RepeatedRows contradicting;  // those of them with another label

  std::vector<std::string> ignored_fields;  // the first 20 names

  int64_t rows() const { return good_rows + bad_rows; }
};

// Returns INVALID_ARGUMENT, naming the file, if a row is bad (with the first of them) or there are
// no rows.
absl::Status Check(const DatasetReport& report);

// What does not forbid training but may be a mistake, one sentence each.
std::vector<std::string> Warnings(const DatasetReport& report);

// The report for people, in lines of text.
std::string ToText(const DatasetReport& report);
// The report as JSON in UTF-8, with the names of the fields above.
nlohmann::ordered_json ToJson(const DatasetReport& report);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_DATASET_REPORT_H_
