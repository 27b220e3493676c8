// Tokens: secrets that clients present, of which the server knows the digests.
#ifndef WHIPSNAKE_SERVER_ACCESS_TOKEN_H_
#define WHIPSNAKE_SERVER_ACCESS_TOKEN_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::server {

// How every token begins, so that people and scanners of source code recognize one.
inline constexpr std::string_view kTokenPrefix = "wsn_";

// Returns a new token: the prefix and 256 random bits as 43 characters of base64url. INTERNAL if
// the system has no random numbers.
absl::StatusOr<std::string> NewToken();

// Whether the text has the form of NewToken's.
bool IsToken(std::string_view text);

// The token in a header or metadata "authorization" of the form "Bearer TOKEN"; nothing for another
// text.
std::optional<std::string_view> BearerToken(std::string_view authorization);

// Whether a value that should be the path of a file is rather a token: the name of the file begins
// like one.
bool IsTokenForPath(std::string_view path);

// The text, or an error of the same code and its text, with "wsn_[redacted]" for everything that
// begins like a token. The error loses its payloads.
std::string RedactTokens(std::string_view text);
absl::Status RedactTokens(const absl::Status& status);

// SHA-256 of the whole token, as 64 hexadecimal digits in lower case.
std::string TokenDigest(std::string_view token);

// Whether the text has the form of TokenDigest's.
bool IsTokenDigest(std::string_view text);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ACCESS_TOKEN_H_
