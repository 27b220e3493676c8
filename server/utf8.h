// UTF-8 at the server's boundaries: incoming text is checked, outgoing text is made well-formed.
#ifndef WHIPSNAKE_SERVER_UTF8_H_
#define WHIPSNAKE_SERVER_UTF8_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace whipsnake::server {

bool IsUtf8(std::string_view text);

// Returns the number of characters (code points) of a well-formed text.
int64_t CountCharacters(std::string_view text);

// Returns `text` with each malformed sequence replaced by U+FFFD, truncated at a character boundary
// to at most `max_bytes`. If it was truncated, it ends with "...", which counts towards the limit.
// max_bytes >= 3.
std::string BoundedUtf8(std::string_view text, int64_t max_bytes);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_UTF8_H_
