// Validates, decodes and encodes UTF-8.
#ifndef WHIPSNAKE_ENGINE_BASE_UTF8_H_
#define WHIPSNAKE_ENGINE_BASE_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace whipsnake::engine {

// Returns the offset of the first byte that is not part of a well-formed character, or npos.
size_t FindInvalidUtf8(std::string_view bytes);

inline bool IsUtf8(std::string_view bytes) { return FindInvalidUtf8(bytes) == bytes.npos; }

// Appends `bytes`, with U+FFFD for each maximal subpart of an ill-formed character (as section 3.9
// of the Unicode Standard recommends and Rust's from_utf8_lossy does).
void AppendLossy(std::string_view bytes, std::string* out);

// Returns `bytes` as AppendLossy does, cut between characters to at most `max_bytes`, which is 3 or
// more. A text that was cut ends with "...", which counts towards the limit.
std::string BoundedUtf8(std::string_view bytes, int64_t max_bytes);

// Returns the number of bytes at the end (0 to 3) that begin a character that more bytes could
// complete.
size_t IncompleteTail(std::string_view bytes);

// Returns the code point at `*pos` and moves `*pos` past it. `text` must be well-formed, and `*pos`
// within it.
char32_t NextCodePoint(std::string_view text, size_t* pos);

// Returns the offset of the character that has the byte at `pos`. `text` must be well-formed, and
// `pos` within it.
size_t CharacterBegin(std::string_view text, size_t pos);

// Returns the code point that ends before `pos`. `text` must be well-formed and pos > 0.
char32_t CodePointBefore(std::string_view text, size_t pos);

// Returns the number of code points. `text` must be well-formed.
int64_t CountCharacters(std::string_view text);

void AppendUtf8(char32_t code_point, std::string* out);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_UTF8_H_
