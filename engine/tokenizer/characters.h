// Character classes for tokenizers.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_CHARACTERS_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_CHARACTERS_H_

#include <utility>

namespace whipsnake::engine {

bool IsLetter(char32_t code_point);  // \p{L}
bool IsNumber(char32_t code_point);  // \p{N}
bool IsSpace(char32_t code_point);   // \s, which is White_Space

// \w as in UTS #18, annex C, and in Rust's regex: letters, marks, decimal numbers, connectors,
// joiners.
bool IsWordCharacter(char32_t code_point);

// Punctuation as in `tokenizers` 0.23: \p{P} of Unicode 8.0, which still included U+166D and
// U+111C9, whatever the Unicode version of ICU, plus the symbols of ASCII.
bool IsPunctuation(char32_t code_point);

// The version of Unicode of ICU, such as {15, 0}, which the other classes and regular expressions
// have; and that of `tokenizers` 0.23.
std::pair<int, int> UnicodeVersion();
inline constexpr std::pair<int, int> kUnicodeVersionOfTokenizers = {16, 0};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_CHARACTERS_H_
