#include "engine/tokenizer/characters.h"

#include <cstdint>

#include "unicode/uchar.h"

namespace whipsnake::engine {
namespace {

bool HasCategory(char32_t code_point, uint32_t mask) {
  return (U_MASK(u_charType(static_cast<UChar32>(code_point))) & mask) != 0;
}

int MajorAge(char32_t code_point) {
  UVersionInfo version;
  u_charAge(static_cast<UChar32>(code_point), version);
  return version[0];
}

}  // namespace

bool IsLetter(char32_t code_point) { return HasCategory(code_point, U_GC_L_MASK); }

bool IsNumber(char32_t code_point) { return HasCategory(code_point, U_GC_N_MASK); }

bool IsSpace(char32_t code_point) { return u_isUWhiteSpace(static_cast<UChar32>(code_point)); }

bool IsWordCharacter(char32_t code_point) {
  return HasCategory(code_point, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK) ||
         u_isUAlphabetic(static_cast<UChar32>(code_point)) ||
         u_hasBinaryProperty(static_cast<UChar32>(code_point), UCHAR_JOIN_CONTROL);
}

std::pair<int, int> UnicodeVersion() {
  UVersionInfo version;
  u_getUnicodeVersion(version);
  return {version[0], version[1]};
}

bool IsPunctuation(char32_t code_point) {
  if (code_point < 0x80) return HasCategory(code_point, U_GC_P_MASK | U_GC_S_MASK);
  if (code_point == 0x166D || code_point == 0x111C9) return true;
  return HasCategory(code_point, U_GC_P_MASK) && MajorAge(code_point) <= 8;
}

}  // namespace whipsnake::engine
