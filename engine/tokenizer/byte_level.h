// GPT-2's byte-level alphabet: every byte has a printable character of its own, so that a
// vocabulary of strings can hold any bytes. Bytes that are printable in Latin-1 stand for
// themselves; the others are U+0100 onwards, in order.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_BYTE_LEVEL_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_BYTE_LEVEL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace whipsnake::engine {

// The character of `byte`, in UTF-8.
std::string_view ByteLevelCharacter(uint8_t byte);

// Each byte as its character.
std::string EncodeByteLevel(std::string_view bytes);

// The bytes behind the characters of well-formed `text`, or nothing if one of them is not of the
// alphabet.
std::optional<std::string> DecodeByteLevel(std::string_view text);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_BYTE_LEVEL_H_
