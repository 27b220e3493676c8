// The formats of strings that are generated: JSON Schema's "format".
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_TEXT_FORMAT_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_TEXT_FORMAT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace whipsnake::engine {

// Returns a pattern (regex_grammar.h) whose texts are valid in the format, or nullopt if the format
// is not known. Known are the formats of JSON Schema, uuid1 to uuid8, and byte (canonical base64).
// Dates, uuid, ipv4 and byte have all their texts, or all but other spellings of the same value. Of
// the others the pattern has the usual texts: of email and hostname at most 223 and 191 characters,
// and of the internationalized formats those in ASCII. Of uri it has texts of at most `max_length`
// if that is large enough, so that a length beside it needs no further check.
std::optional<std::string> FormatPattern(std::string_view format, int64_t max_length);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_TEXT_FORMAT_H_
