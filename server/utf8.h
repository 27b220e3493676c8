// UTF-8 at the edges of the server: what arrives is checked, what leaves is made well-formed.
#ifndef WHIPSNAKE_SERVER_UTF8_H_
#define WHIPSNAKE_SERVER_UTF8_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace whipsnake::server {

bool IsUtf8(std::string_view text);

// How many characters (code points) a well-formed text has.
int64_t CountCharacters(std::string_view text);

// `text` with each malformed sequence replaced by U+FFFD, cut at a character's end to at most
// `max_bytes`;
// "..." (within the limit) stands for what was cut off. max_bytes >= 3.
std::string BoundedUtf8(std::string_view text, int64_t max_bytes);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_UTF8_H_
