// Comma-separated values, as in RFC 4180: a field that contains commas, quotes or line breaks is
// enclosed in double quotes, and a quote in it is doubled. Lines end with LF or CRLF.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_CSV_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_CSV_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

// Finds the end of one row whose bytes come in pieces. A line break ends the row unless it is in a
// quoted field.
class CsvRowEnd {
 public:
  // Returns the offset in `piece` of the LF that ends the row, or npos if there is none yet.
  size_t Find(std::string_view piece);

 private:
  enum class Place { kFieldStart, kPlain, kQuoted, kAfterQuote };

  Place place_ = Place::kFieldStart;
};

// Returns the fields of one row, at least one. `row` does not have the line break that ends it.
// Returns INVALID_ARGUMENT, naming the column as "column 3", for a misplaced quote.
absl::StatusOr<std::vector<std::string>> ParseCsvRow(std::string_view row);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_CSV_H_
