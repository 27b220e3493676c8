#include "engine/base/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

namespace whipsnake::engine {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";
constexpr std::string_view kEllipsis = "...";

bool IsContinuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

struct Unit {
  size_t length;  // bytes of the character, or of the maximal subpart of an ill-formed one
  bool valid;
  bool truncated;  // ill-formed only because the bytes end
};

// The number of bytes after the lead byte, and the range of the first of them, from table 3-7 of
// the Unicode Standard. The others are 80..BF.
struct Lead {
  size_t trail;
  uint8_t low, high;
};

Lead Classify(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {1, 0x80, 0xBF};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {2, 0x80, 0xBF};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {3, 0x80, 0xBF};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {0, 0, 0};
}

Unit FirstUnit(std::string_view bytes) {
  const uint8_t first = bytes[0];
  if (first < 0x80) return {1, true, false};
  Lead lead = Classify(first);
  if (lead.trail == 0) return {1, false, false};
  for (size_t i = 1; i <= lead.trail; ++i) {
    if (i == bytes.size()) return {i, false, true};
    const uint8_t byte = bytes[i];
    if (byte < lead.low || byte > lead.high) return {i, false, false};
    lead.low = 0x80;
    lead.high = 0xBF;
  }
  return {lead.trail + 1, true, false};
}

// Returns the first offset from `pos` on that is not ASCII, checking eight bytes at a time.
size_t SkipAscii(std::string_view bytes, size_t pos) {
  for (; pos + 8 <= bytes.size(); pos += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + pos, 8);
    if (word & 0x8080808080808080u) break;
  }
  while (pos < bytes.size() && static_cast<uint8_t>(bytes[pos]) < 0x80) ++pos;
  return pos;
}

}  // namespace

size_t FindInvalidUtf8(std::string_view bytes) {
  for (size_t pos = SkipAscii(bytes, 0); pos < bytes.size(); pos = SkipAscii(bytes, pos)) {
    const Unit unit = FirstUnit(bytes.substr(pos));
    if (!unit.valid) return pos;
    pos += unit.length;
  }
  return std::string_view::npos;
}

void AppendLossy(std::string_view bytes, std::string* out) {
  while (!bytes.empty()) {
    const size_t bad = FindInvalidUtf8(bytes);
    out->append(bytes.substr(0, bad));
    if (bad == std::string_view::npos) return;
    out->append(kReplacement);
    bytes.remove_prefix(bad);
    bytes.remove_prefix(FirstUnit(bytes).length);
  }
}

std::string BoundedUtf8(std::string_view bytes, int64_t max_bytes) {
  std::string text;
  // A replacement is never shorter than what it replaces, so later bytes could not fit.
  AppendLossy(bytes.substr(0, max_bytes + 1), &text);
  if (std::cmp_less_equal(text.size(), max_bytes)) return text;
  text.resize(CharacterBegin(text, max_bytes - kEllipsis.size()));
  return text.append(kEllipsis);
}

size_t IncompleteTail(std::string_view bytes) {
  for (size_t length = 1; length <= std::min<size_t>(3, bytes.size()); ++length) {
    const std::string_view tail = bytes.substr(bytes.size() - length);
    // A byte from C0 on is never a continuation byte, so a unit starts there.
    if (static_cast<uint8_t>(tail[0]) < 0xC0) continue;
    const Unit unit = FirstUnit(tail);
    return unit.truncated ? length : 0;
  }
  return 0;
}

char32_t NextCodePoint(std::string_view text, size_t* pos) {
  const auto byte = [&](size_t i) -> char32_t { return static_cast<uint8_t>(text[*pos + i]); };
  const char32_t first = byte(0);
  char32_t code_point = first;
  size_t length = 1;
  if (first >= 0xF0) {
    code_point = (first & 7) << 18 | (byte(1) & 63) << 12 | (byte(2) & 63) << 6 | (byte(3) & 63);
    length = 4;
  } else if (first >= 0xE0) {
    code_point = (first & 15) << 12 | (byte(1) & 63) << 6 | (byte(2) & 63);
    length = 3;
  } else if (first >= 0x80) {
    code_point = (first & 31) << 6 | (byte(1) & 63);
    length = 2;
  }
  *pos += length;
  return code_point;
}

size_t CharacterBegin(std::string_view text, size_t pos) {
  while (IsContinuation(text[pos])) --pos;
  return pos;
}

char32_t CodePointBefore(std::string_view text, size_t pos) {
  pos = CharacterBegin(text, pos - 1);
  return NextCodePoint(text, &pos);
}

int64_t CountCharacters(std::string_view text) {
  return std::ranges::count_if(text, [](char byte) { return !IsContinuation(byte); });
}

void AppendUtf8(char32_t code_point, std::string* out) {
  const auto put = [&](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) return put(code_point);
  if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
  } else {
    if (code_point < 0x10000) {
      put(0xE0 | code_point >> 12);
    } else {
      put(0xF0 | code_point >> 18);
      put(0x80 | (code_point >> 12 & 63));
    }
    put(0x80 | (code_point >> 6 & 63));
  }
  put(0x80 | (code_point & 63));
}

}  // namespace whipsnake::engine
