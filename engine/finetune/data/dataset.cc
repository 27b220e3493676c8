#include "engine/finetune/data/dataset.h"

#include <string>
#include <vector>

#include "engine/base/status.h"

namespace whipsnake::engine {

absl::StatusOr<std::unique_ptr<Dataset>> Dataset::Open(const std::string& path,
                                                       DatasetOptions options,
                                                       const Tokenizer* tokenizer, Ledger* ledger,
                                                       const WorkProgress& progress) {
  RETURN_IF_ERROR(Validate(options));
  ASSIGN_OR_RETURN(DataFile file, DataFile::Open(path));
  ASSIGN_OR_RETURN(ScannedFile scanned, ScanFile(file, options, tokenizer, *ledger, progress));
  return std::unique_ptr<Dataset>(
      new Dataset(std::move(file), std::move(options), tokenizer, std::move(scanned)));
}

absl::Status Dataset::Changed(int64_t i) const {
  return WithPath(
      absl::DataLossError(absl::StrCat("line ", scanned_.records[i].line,
                                       ": other bytes seen than when the file was validated, "
                                       "expected a file that does not change while it is in use; "
                                       "to replace it, rename another file over it")),
      file_.path());
}

absl::StatusOr<Row> Dataset::ReadRow(int64_t i) const {
  const RowRecord& record = scanned_.records[i];
  std::string bytes(record.bytes, '\0');
  ASSIGN_OR_RETURN(const int64_t got, file_.Read(record.offset, bytes));
  if (got != record.bytes || RowChecksum(bytes) != record.checksum) return Changed(i);
  return scanned_.parser->Parse(bytes);
}

absl::StatusOr<TokenizedRow> Dataset::Tokenize(const Row& row) const {
  return TokenizeRow(*tokenizer_, options_.task, options_.end_of_text, row);
}

absl::StatusOr<Example> Dataset::Read(int64_t i) const {
  ASSIGN_OR_RETURN(const Row row, ReadRow(i));
  ASSIGN_OR_RETURN(TokenizedRow tokens, Tokenize(row));
  Example example = MakeExample(std::move(tokens), options_.max_length);
  example.value = row.value;
  example.label = row.choice;
  if (options_.task != Task::kClassification) return example;
  const std::optional<int32_t> label = labels().Find(row.label);
  if (!label) return Changed(i);
  example.label = *label;
  return example;
}

absl::StatusOr<std::vector<int32_t>> Dataset::ReadText(int64_t i) const {
  ASSIGN_OR_RETURN(const Row row, ReadRow(i));
  ASSIGN_OR_RETURN(TokenizedRow tokens, Tokenize(row));
  return std::move(tokens.input);
}

}  // namespace whipsnake::engine
