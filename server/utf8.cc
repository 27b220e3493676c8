#include "server/utf8.h"

#include <unicode/utf8.h>

namespace whipsnake::server {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::string_view kEllipsis = "...";

// Calls visit(bytes of the character) for each character, or visit("") for a malformed sequence,
// until it returns false.
template <typename Visit>
void ForEachCharacter(std::string_view text, const Visit& visit) {
  const char* data = text.data();
  const int64_t length = static_cast<int64_t>(text.size());
  for (int64_t begin = 0, end = 0; begin < length; begin = end) {
    UChar32 character;
    U8_NEXT(data, end, length, character);
    if (!visit(character < 0 ? std::string_view() : text.substr(begin, end - begin))) return;
  }
}

}  // namespace

bool IsUtf8(std::string_view text) {
  bool valid = true;
  ForEachCharacter(text, [&](std::string_view character) { return valid = !character.empty(); });
  return valid;
}

int64_t CountCharacters(std::string_view text) {
  int64_t count = 0;
  ForEachCharacter(text, [&](std::string_view) { return ++count > 0; });
  return count;
}

std::string BoundedUtf8(std::string_view text, int64_t max_bytes) {
  std::string result;
  size_t cut = 0;  // the longest prefix that leaves room for the ellipsis
  bool fits = true;
  ForEachCharacter(text, [&](std::string_view character) {
    result += character.empty() ? kReplacement : character;
    if (std::ssize(result) + std::ssize(kEllipsis) <= max_bytes) cut = result.size();
    return fits = std::ssize(result) <= max_bytes;
  });
  if (!fits) result.replace(cut, std::string::npos, kEllipsis);
  return result;
}

}  // namespace whipsnake::server
