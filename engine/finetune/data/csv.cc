#include "engine/finetune/data/csv.h"

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// Removes a quoted field from the front of `rest`, which begins with its quote, and returns the
// field without quotes. Returns INVALID_ARGUMENT, as a fault of `column`, if it is not closed.
absl::StatusOr<std::string> TakeQuotedField(std::string_view column, std::string_view* rest) {
  std::string field;
  rest->remove_prefix(1);
  while (true) {
    const size_t quote = rest->find('"');
    if (quote == rest->npos) {
      return InvalidField(column, "an opening quote", "a closing quote after it");
    }
    field.append(rest->substr(0, quote));
    rest->remove_prefix(quote + 1);
    if (!rest->starts_with('"')) return field;
    field.push_back('"');
    rest->remove_prefix(1);
  }
}

absl::StatusOr<std::string> TakePlainField(std::string_view column, std::string_view* rest) {
  const std::string_view field = rest->substr(0, rest->find(','));
  rest->remove_prefix(field.size());
  if (field.find('"') != field.npos) {
    return InvalidField(column, Quoted(field),
                        "a field with quotes to be enclosed in quotes, and those in it doubled");
  }
  return std::string(field);
}

}  // namespace

size_t CsvRowEnd::Find(std::string_view piece) {
  for (size_t i = 0; i < piece.size(); ++i) {
    const char byte = piece[i];
    if (byte == '\n' && place_ != Place::kQuoted) return i;
    if (place_ == Place::kQuoted) {
      if (byte == '"') place_ = Place::kAfterQuote;
    } else if (byte == ',') {
      place_ = Place::kFieldStart;
    } else if (byte == '"' && place_ != Place::kPlain) {
      place_ = Place::kQuoted;  // it opens the field or is the second of a doubled quote
    } else {
      place_ = Place::kPlain;
    }
  }
  return piece.npos;
}

absl::StatusOr<std::vector<std::string>> ParseCsvRow(std::string_view row) {
  std::vector<std::string> fields;
  while (true) {
    const std::string column = absl::StrCat("column ", fields.size() + 1);
    ASSIGN_OR_RETURN(std::string field, row.starts_with('"') ? TakeQuotedField(column, &row)
                                                             : TakePlainField(column, &row));
    fields.push_back(std::move(field));
    if (row.empty()) return fields;
    if (!row.starts_with(',')) {
      return InvalidField(column, absl::StrCat(Quoted(row), " after the closing quote"),
                          "a comma or the end of the row");
    }
    row.remove_prefix(1);
  }
}

}  // namespace whipsnake::engine
