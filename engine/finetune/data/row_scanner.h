// Splits a file into rows.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_ROW_SCANNER_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_ROW_SCANNER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/digest.h"
#include "engine/finetune/data/data_file.h"

namespace whipsnake::engine {

enum class RowFormat {
  kJsonLines,  // one JSON object per line
  kCsv,        // csv.h
};

// "json-lines", "csv".
std::string_view Name(RowFormat format);
// Returns the format for the ending of a file's name: .jsonl, .ndjson, .json or .csv.
// INVALID_ARGUMENT for another one.
absl::StatusOr<RowFormat> FormatOf(std::string_view path);

// A row as it is in the file, without the LF or CRLF that ends it.
struct RawRow {
  int64_t offset = 0;     // of its first byte in the file
  int64_t line = 0;       // where it begins, counted from 1
  int64_t bytes = 0;      // its size; that of a row over the limit counts its line break
  std::string_view text;  // empty if the row is longer than the limit
};

// Reads a file from its beginning to its end, once. A byte order mark at the beginning and empty
// lines between the rows are skipped. Holds at most one row of up to `max_row_bytes` in memory; a
// longer one is skipped, but reported. The file must outlive the scanner. Not thread-safe.
class RowScanner {
 public:
  RowScanner(const DataFile* file, RowFormat format, int64_t max_row_bytes);

  // Returns the next row, or nullopt at the end of the file. Its text is valid until the next call.
  absl::StatusOr<std::optional<RawRow>> Next();

  int64_t offset() const { return offset_; }  // bytes of the file that the rows so far cover
  // The digest of what has been read; of the whole file at its end.
  std::string digest() const { return digest_.text(); }

 private:
  // Reads the next bytes into piece_, which is empty at the end of the file.
  absl::Status Refill();
  // Removes `count` bytes from the front of piece_.
  void Skip(int64_t count);
  // Reads one line, or one row of several lines, into row_. Returns it with its line break.
  absl::StatusOr<RawRow> TakeRow();

  const DataFile* file_;
  const RowFormat format_;
  const int64_t max_row_bytes_;
  std::string buffer_;
  std::string_view piece_;  // the part of buffer_ that is not consumed yet
  std::string row_;
  int64_t offset_ = 0;  // of piece_ in the file
  int64_t line_ = 1;    // at piece_
  Digest digest_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_ROW_SCANNER_H_
