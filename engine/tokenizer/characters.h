// The classes of characters that tokenizers ask for.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_CHARACTERS_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_CHARACTERS_H_

namespace whipsnake::engine {

bool IsLetter(char32_t code_point);  // \p{L}
bool IsNumber(char32_t code_point);  // \p{N}
bool IsSpace(char32_t code_point);   // \s, which is White_Space

// \w of UTS #18, annex C, as in Rust's regex: letters, marks, decimal numbers, connectors, joiners.
bool IsWordCharacter(char32_t code_point);

// What `tokenizers` 0.23 takes for punctuation: \p{P} of Unicode 8.0, whatever ICU's own age, where
// U+166D and U+111C9 still were of it; and the symbols of ASCII.
bool IsPunctuation(char32_t code_point);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_CHARACTERS_H_
