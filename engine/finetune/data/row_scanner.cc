#include "engine/finetune/data/row_scanner.h"

#include <algorithm>

#include "engine/base/status.h"
#include "engine/finetune/data/csv.h"

namespace whipsnake::engine {
namespace {

constexpr size_t kPieceBytes = size_t{256} << 10;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// The longest line break, CRLF. It does not count towards the limit of a row.
constexpr int64_t kLineBreakBytes = 2;

std::string_view WithoutLineBreak(std::string_view row) {
  if (row.ends_with('\n')) {
    row.remove_suffix(1);
    if (row.ends_with('\r')) row.remove_suffix(1);
  }
  return row;
}

}  // namespace

std::string_view Name(RowFormat format) { return format == RowFormat::kCsv ? "csv" : "json-lines"; }

absl::StatusOr<RowFormat> FormatOf(std::string_view path) {
  for (const std::string_view ending : {".jsonl", ".ndjson", ".json"}) {
    if (path.ends_with(ending)) return RowFormat::kJsonLines;
  }
  if (path.ends_with(".csv")) return RowFormat::kCsv;
  return InvalidField("format", Quoted(path.substr(path.rfind('/') + 1)),
                      "a name that ends with .jsonl, .ndjson, .json or .csv");
}

RowScanner::RowScanner(const DataFile* file, RowFormat format, int64_t max_row_bytes)
    : file_(file), format_(format), max_row_bytes_(max_row_bytes) {}

absl::Status RowScanner::Refill() {
  buffer_.resize(kPieceBytes);
  ASSIGN_OR_RETURN(const int64_t got, file_->Read(offset_, buffer_));
  piece_ = std::string_view(buffer_).substr(0, got);
  digest_.Add(piece_);
  if (offset_ == 0 && piece_.starts_with(kByteOrderMark)) Skip(kByteOrderMark.size());
  return absl::OkStatus();
}

void RowScanner::Skip(int64_t count) {
  piece_.remove_prefix(count);
  offset_ += count;
}

absl::StatusOr<RawRow> RowScanner::TakeRow() {
  RawRow row;
  row_.clear();
  CsvRowEnd csv_end;
  for (bool ended = false; !ended;) {
    if (piece_.empty()) RETURN_IF_ERROR(Refill());
    if (piece_.empty()) break;  // the last row need not have a line break
    if (row.bytes == 0) row.offset = offset_, row.line = line_;
    const size_t end = format_ == RowFormat::kCsv ? csv_end.Find(piece_) : piece_.find('\n');
    ended = end != piece_.npos;
    const std::string_view part = piece_.substr(0, ended ? end + 1 : piece_.size());
    row.bytes += std::ssize(part);
    if (row.bytes <= max_row_bytes_ + kLineBreakBytes) row_.append(part);
    line_ += std::ranges::count(part, '\n');
    Skip(std::ssize(part));
  }
  return row;
}

absl::StatusOr<std::optional<RawRow>> RowScanner::Next() {
  while (true) {
    ASSIGN_OR_RETURN(RawRow row, TakeRow());
    if (row.bytes == 0) return std::nullopt;
    if (row.bytes > max_row_bytes_ + kLineBreakBytes) return row;
    row.text = WithoutLineBreak(row_);
    row.bytes = std::ssize(row.text);
    if (row.bytes > max_row_bytes_) row.text = {};
    if (row.bytes > 0) return row;
  }
}

}  // namespace whipsnake::engine
