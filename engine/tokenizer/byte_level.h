// GPT-2's byte-level alphabet: every byte has its own printable character, so that a vocabulary of
// strings can hold any bytes. Bytes that are printable in Latin-1 map to themselves; the others map
// to U+0100 onwards, in order.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_BYTE_LEVEL_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_BYTE_LEVEL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace whipsnake::engine {

// Returns the character of `byte` in UTF-8.
std::string_view ByteLevelCharacter(uint8_t byte);

// Replaces each byte by its character.
std::string EncodeByteLevel(std::string_view bytes);

// Returns the bytes of the characters of well-formed `text`, or nullopt if a character is not in
// the alphabet.
std::optional<std::string> DecodeByteLevel(std::string_view text);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_BYTE_LEVEL_H_
