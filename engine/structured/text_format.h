// The formats of strings that are generated: JSON Schema's "format".
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_TEXT_FORMAT_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_TEXT_FORMAT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace whipsnake::engine {

// Returns a pattern (regex_grammar.h) whose texts are valid in the format, or nullopt if the format
// is not known. Known are date, time, date-time (RFC 3339), duration (RFC 3339, appendix A), uuid
// (also uuid1 to uuid8), ipv4, ipv6, email, hostname, uri (RFC 3986) and byte (canonical base64).
// Of duration, email, hostname and uri the pattern has the usual forms, and of email and hostname
// only texts of at most 223 characters; of uri it has texts of at most `max_length` if that is large
// enough, so that a length beside it needs no further check.
std::optional<std::string> FormatPattern(std::string_view format, int64_t max_length);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_TEXT_FORMAT_H_
