// UTF-8: what is well-formed, and what becomes of what is not.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_UTF8_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_UTF8_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace whipsnake::engine {

// The offset of the first byte that belongs to no well-formed character, or npos.
size_t FindInvalidUtf8(std::string_view bytes);

// Appends `bytes`, with U+FFFD for each maximal subpart of an ill-formed character (the practice
// that the Unicode Standard recommends in section 3.9, and that Rust's from_utf8_lossy follows).
void AppendLossy(std::string_view bytes, std::string* out);

// How many bytes at the end (0 to 3) begin a character that more bytes could still complete.
size_t IncompleteTail(std::string_view bytes);

// The code point at `*pos`, which moves past it. `text` must be well-formed and *pos < text.size().
char32_t NextCodePoint(std::string_view text, size_t* pos);

// The code point that ends before `pos`. `text` must be well-formed and pos > 0.
char32_t CodePointBefore(std::string_view text, size_t pos);

void AppendUtf8(char32_t code_point, std::string* out);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_UTF8_H_
