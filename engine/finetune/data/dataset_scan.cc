#include "engine/finetune/data/dataset_scan.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/finetune/data/csv.h"
#include "engine/finetune/data/examples.h"
#include "engine/finetune/data/repeated_rows.h"

namespace whipsnake::engine {
namespace {

constexpr size_t kListedBadRows = 100;
constexpr size_t kListedUnknownLabels = 100;
constexpr size_t kListedFields = 20;
constexpr int64_t kMaxFieldBytes = 100;

constexpr Purpose kPurpose = Purpose::kWorkspace;

absl::Status CheckBytes(const RawRow& row, int64_t max_bytes) {
  if (row.bytes > max_bytes) {
    return InvalidField("row", absl::StrCat(row.bytes, " bytes"),
                        absl::StrCat("at most ", max_bytes));
  }
  const size_t bad = FindInvalidUtf8(row.text);
  if (bad == row.text.npos) return absl::OkStatus();
  return InvalidField("row", absl::StrCat("an invalid byte at offset ", bad), "text in UTF-8");
}

void AddIgnored(const Row& row, std::vector<std::string>* fields) {
  for (const std::string& name : row.ignored) {
    if (fields->size() == kListedFields) return;
    std::string bounded = BoundedUtf8(name, kMaxFieldBytes);
    if (std::ranges::find(*fields, bounded) == fields->end()) fields->push_back(std::move(bounded));
  }
}

struct CheckedRow {
  Row row;
  int64_t tokens = 0;   // of the input and all responses
  int64_t longest = 0;  // of its longest sequence, in tokens
  bool has_equal_responses = false;
  int64_t label = 0;  // differs between labels
};

// Whether there are two or more responses, and the first two are the same.
template <typename Responses>
bool FirstTwoAreEqual(const Responses& responses) {
  return responses.size() > 1 && responses[0] == responses[1];
}

absl::Status CheckTextsNotEmpty(Task task, const Row& row) {
  const auto check = [](std::string_view field, std::string_view text) {
    if (!text.empty()) return absl::OkStatus();
    return InvalidField(field, "an empty text", "at least one character");
  };
  RETURN_IF_ERROR(check(InputField(task), row.input));
  for (int64_t i = 0; i < std::ssize(row.responses); ++i) {
    RETURN_IF_ERROR(check(ResponseField(task, i), row.responses[i]));
  }
  return absl::OkStatus();
}

// The state of one pass.
class Scan {
 public:
  Scan(const DataFile& file, const DatasetOptions& options, const Tokenizer* tokenizer,
       Ledger& ledger)
      : file_(file),
        options_(options),
        tokenizer_(tokenizer),
        ledger_(ledger),
        result_{.report = {},
                .records = {&ledger, kPurpose, "the index of a data set"},
                .parser = nullptr,
                .labels = options.labels},
        repeated_(&ledger) {}

  absl::StatusOr<ScannedFile> Run(const WorkProgress& progress);

 private:
  absl::Status ScanRows(const WorkProgress& progress);
  // Makes the parser for the file's first row. Returns whether that row names the columns.
  absl::StatusOr<bool> ReadHeader(const RawRow& first);
  absl::StatusOr<std::unique_ptr<RowParser>> MakeParser(const RawRow& first) const;
  // Adds a row to the result. Only errors of the ledger are returned.
  absl::Status AddRow(const RawRow& raw);
  absl::Status AddGoodRow(const RawRow& raw, const CheckedRow& checked);
  void AddBadRow(int64_t line, const absl::Status& fault);
  // These return INVALID_ARGUMENT, with the field attached, if the row is bad.
  absl::StatusOr<CheckedRow> CheckRow(const RawRow& raw);
  absl::StatusOr<Row> ParseRow(const RawRow& raw) const;
  // Sets what is known of the row's tokens.
  absl::Status CountTokens(CheckedRow& checked);
  absl::StatusOr<int64_t> LabelOf(const Row& row);
  // Returns the number of a label: its final one, or the collector's if the options have no labels.
  absl::StatusOr<int64_t> ClassOf(const std::string& name);
  void AddToValues(float value);
  absl::Status Finish();
  absl::Status SummarizeLengths();
  void CountLabels();

  DatasetReport& report() { return result_.report; }
  const DatasetReport& report() const { return result_.report; }

  const DataFile& file_;
  const DatasetOptions& options_;
  const Tokenizer* const tokenizer_;  // null: tokens are not counted
  Ledger& ledger_;
  ScannedFile result_;
  LabelCollector collector_;
  std::vector<int64_t> rows_of_class_;  // by the number that ClassOf returns
  RepeatedRowFinder repeated_;
};

absl::StatusOr<ScannedFile> Scan::Run(const WorkProgress& progress) {
  report().path = file_.path();
  report().task = options_.task;
  report().max_length = options_.max_length;
  report().packed = options_.packs();
  if (options_.format) {
    report().format = *options_.format;
  } else {
    ASSIGN_OR_RETURN(report().format, FormatOf(file_.path()));
  }
  RETURN_IF_ERROR(ScanRows(progress));
  RETURN_IF_ERROR(Finish());
  return std::move(result_);
}

absl::Status Scan::ScanRows(const WorkProgress& progress) {
  constexpr int64_t kRowsPerReport = 64;
  RowScanner scanner(&file_, report().format, options_.max_row_bytes);
  for (int64_t count = 0;; ++count) {
    ASSIGN_OR_RETURN(const std::optional<RawRow> raw, scanner.Next());
    if (!raw) break;
    if (progress && count % kRowsPerReport == 0) {
      const double done = static_cast<double>(raw->offset) / static_cast<double>(file_.bytes());
      RETURN_IF_ERROR(progress("validating", std::min(done, 1.0)));
    }
    bool is_header = false;
    if (result_.parser == nullptr) {
      ASSIGN_OR_RETURN(is_header, ReadHeader(*raw));
    }
    if (!is_header) RETURN_IF_ERROR(AddRow(*raw));
  }
  report().bytes = scanner.offset();
  report().digest = scanner.digest();
  return progress ? progress("validating", 1) : absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<RowParser>> Scan::MakeParser(const RawRow& first) const {
  const std::string& label = options_.label_column;
  if (report().format == RowFormat::kJsonLines) {
    return MakeJsonRowParser(options_.task, label.empty() ? "label" : label);
  }
  RETURN_IF_ERROR(CheckBytes(first, options_.max_row_bytes));
  ASSIGN_OR_RETURN(std::vector<std::string> columns, ParseCsvRow(first.text));
  if (!options_.header) columns = NumberedColumns(columns.size());
  return MakeCsvRowParser(options_.task, std::move(columns), label);
}

absl::StatusOr<bool> Scan::ReadHeader(const RawRow& first) {
  absl::StatusOr<std::unique_ptr<RowParser>> parser = MakeParser(first);
  if (!parser.ok()) {
    return WithPath(WithContext(parser.status(), absl::StrCat("line ", first.line)), file_.path());
  }
  result_.parser = *std::move(parser);
  return report().format == RowFormat::kCsv && options_.header;
}

absl::StatusOr<Row> Scan::ParseRow(const RawRow& raw) const {
  RETURN_IF_ERROR(CheckBytes(raw, options_.max_row_bytes));
  return result_.parser->Parse(raw.text);
}

absl::Status Scan::CountTokens(CheckedRow& checked) {
  absl::Status complete;
  if (tokenizer_ == nullptr) {
    checked.has_equal_responses = FirstTwoAreEqual(checked.row.responses);
    complete = CheckTextsNotEmpty(options_.task, checked.row);
  } else {
    ASSIGN_OR_RETURN(const TokenizedRow tokens,
                     TokenizeRow(*tokenizer_, options_.task, options_.end_of_text, checked.row));
    if (options_.vocabulary > 0) {
      RETURN_IF_ERROR(CheckVocabulary(options_.task, options_.vocabulary, *tokenizer_, tokens));
    }
    checked.tokens = tokens.tokens();
    checked.longest = tokens.longest();
    checked.has_equal_responses = FirstTwoAreEqual(tokens.responses);
    complete = CheckLengths(options_.task, options_.shortest_text(), tokens);
  }
  if (!complete.ok()) ++report().empty_rows;
  return complete;
}

absl::StatusOr<int64_t> Scan::ClassOf(const std::string& name) {
  if (options_.labels.empty()) return collector_.Number(name);
  const std::optional<int32_t> label = result_.labels.Find(name);
  if (label) return *label;
  const std::string bounded = BoundedUtf8(name, kMaxLabelBytes);
  if (report().unknown_labels.contains(bounded) ||
      report().unknown_labels.size() < kListedUnknownLabels) {
    ++report().unknown_labels[bounded];
  }
  return InvalidField("label", Quoted(name), absl::StrCat("one of ", result_.labels.Listed()));
}

absl::StatusOr<int64_t> Scan::LabelOf(const Row& row) {
  switch (options_.task) {
    case Task::kClassification:
      return ClassOf(row.label);
    case Task::kRegression:
      return std::bit_cast<int32_t>(row.value);
    case Task::kChoice:
      return row.choice;
    case Task::kCausalLm:
    case Task::kDpo:
      break;
  }
  return 0;
}

absl::StatusOr<CheckedRow> Scan::CheckRow(const RawRow& raw) {
  CheckedRow checked;
  ASSIGN_OR_RETURN(checked.row, ParseRow(raw));
  RETURN_IF_ERROR(CountTokens(checked));
  ASSIGN_OR_RETURN(checked.label, LabelOf(checked.row));
  return checked;
}

absl::Status Scan::AddRow(const RawRow& raw) {
  const absl::StatusOr<CheckedRow> checked = CheckRow(raw);
  if (checked.ok()) return AddGoodRow(raw, *checked);
  AddBadRow(raw.line, checked.status());
  return absl::OkStatus();
}

absl::Status Scan::AddGoodRow(const RawRow& raw, const CheckedRow& checked) {
  const int64_t label = checked.label;
  RETURN_IF_ERROR(repeated_.Add(checked.row, raw.line, label));
  RETURN_IF_ERROR(result_.records.PushBack({.offset = raw.offset,
                                            .line = raw.line,
                                            .checksum = RowChecksum(raw.text),
                                            .bytes = static_cast<int32_t>(raw.bytes),
                                            .longest = static_cast<int32_t>(checked.longest)}));
  ++report().good_rows;
  report().tokens += checked.tokens;
  if (!report().packed && checked.longest > options_.max_length) ++report().cut_rows;
  AddIgnored(checked.row, &report().ignored_fields);
  if (options_.task == Task::kClassification) {
    if (label >= std::ssize(rows_of_class_)) rows_of_class_.resize(label + 1);
    ++rows_of_class_[label];
  }
  if (options_.task == Task::kRegression) AddToValues(checked.row.value);
  if (options_.task == Task::kDpo && checked.has_equal_responses) ++report().equal_responses;
  return absl::OkStatus();
}

void Scan::AddBadRow(int64_t line, const absl::Status& fault) {
  ++report().bad_rows;
  if (report().first_bad_rows.size() == kListedBadRows) return;
  report().first_bad_rows.push_back({line, FieldOf(fault), std::string(fault.message())});
}

void Scan::AddToValues(float value) {
  if (!report().values) report().values = {value, 0, value};
  ValueSummary& values = *report().values;
  values.least = std::min<double>(values.least, value);
  values.greatest = std::max<double>(values.greatest, value);
  values.mean += (value - values.mean) / static_cast<double>(report().good_rows);  // running mean
}

void Scan::CountLabels() {
  std::vector<int32_t> label_of_class(result_.labels.size());
  for (int32_t i = 0; i < result_.labels.size(); ++i) label_of_class[i] = i;
  if (result_.labels.empty()) result_.labels = collector_.Sorted(&label_of_class);
  for (const std::string& name : result_.labels.names()) report().labels.push_back({name, 0});
  for (size_t i = 0; i < rows_of_class_.size(); ++i) {
    report().labels[label_of_class[i]].rows = rows_of_class_[i];
  }
}

absl::Status Scan::Finish() {
  if (options_.task == Task::kClassification) CountLabels();
  report().repeated = repeated_.repeated();
  report().contradicting = repeated_.contradicting();
  return tokenizer_ == nullptr ? absl::OkStatus() : SummarizeLengths();
}

absl::Status Scan::SummarizeLengths() {
  ASSIGN_OR_RETURN(const Reservation reservation,
                   ledger_.Reserve(result_.records.size() * static_cast<int64_t>(sizeof(int32_t)),
                                   kPurpose, "the lengths of a data set"));
  std::vector<int32_t> lengths;
  lengths.reserve(result_.records.size());
  for (const RowRecord& record : result_.records) lengths.push_back(record.longest);
  report().lengths = Summarize(lengths);
  return absl::OkStatus();
}

}  // namespace

uint64_t RowChecksum(std::string_view bytes) {
  const Digest::Value digest = Digest::Of(bytes);
  uint64_t checksum;
  std::memcpy(&checksum, digest.data(), sizeof(checksum));
  return checksum;
}

absl::StatusOr<ScannedFile> ScanFile(const DataFile& file, const DatasetOptions& options,
                                     const Tokenizer* tokenizer, Ledger& ledger,
                                     const WorkProgress& progress) {
  return Scan(file, options, tokenizer, ledger).Run(progress);
}

}  // namespace whipsnake::engine
