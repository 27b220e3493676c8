#include "engine/tokenizer/byte_level.h"

#include <array>

#include "engine/base/utf8.h"

namespace whipsnake::engine {
namespace {

constexpr int kAlphabetEnd = 0x144;  // one past the last character of the alphabet

struct Alphabet {
  std::array<std::string, 256> character;
  std::array<int16_t, kAlphabetEnd> byte;  // by code point; -1 outside the alphabet
};

bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

const Alphabet& TheAlphabet() {
  static const Alphabet alphabet = [] {
    Alphabet a;
    a.byte.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t code_point = StandsForItself(byte) ? byte : next++;
      AppendUtf8(code_point, &a.character[byte]);
      a.byte[code_point] = byte;
    }
    return a;
  }();
  return alphabet;
}

}  // namespace

std::string_view ByteLevelCharacter(uint8_t byte) { return TheAlphabet().character[byte]; }

std::string EncodeByteLevel(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char byte : bytes) text += ByteLevelCharacter(byte);
  return text;
}

std::optional<std::string> DecodeByteLevel(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const char32_t code_point = NextCodePoint(text, &pos);
    const int byte = code_point < kAlphabetEnd ? TheAlphabet().byte[code_point] : -1;
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

}  // namespace whipsnake::engine
