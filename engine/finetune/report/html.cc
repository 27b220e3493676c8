#include "engine/finetune/report/html.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kMaxTextBytes = 1000;

bool IsForbidden(char32_t c) {
  return (c < 0x20 && c != '\t' && c != '\n') || (c >= 0x7f && c < 0xa0) || c == 0xfffe ||
         c == 0xffff;
}

}  // namespace

std::string Escaped(std::string_view text) {
  const std::string valid = BoundedUtf8(text, kMaxTextBytes);
  std::string escaped;
  for (size_t pos = 0; pos < valid.size();) {
    const char32_t c = NextCodePoint(valid, &pos);
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        AppendUtf8(IsForbidden(c) ? U'\uFFFD' : c, &escaped);
    }
  }
  return escaped;
}

std::string Element(std::string_view tag, std::string_view content) {
  return absl::StrCat("<", ToAbsl(tag), ">", ToAbsl(content), "</", ToAbsl(tag), ">");
}

std::string Element(std::string_view tag, std::string_view css_class, std::string_view content) {
  return absl::StrCat("<", ToAbsl(tag), " class=\"", ToAbsl(css_class), "\">", ToAbsl(content),
                      "</", ToAbsl(tag), ">");
}

std::string Section(std::string_view title, std::string_view content) {
  return absl::StrCat("<section>", Element("h2", title), ToAbsl(content), "</section>\n");
}

std::string Percent(int64_t part, int64_t whole) {
  if (whole == 0) return "";
  return absl::StrFormat("%.1f %%", 100 * static_cast<double>(part) / static_cast<double>(whole));
}

}  // namespace whipsnake::engine
