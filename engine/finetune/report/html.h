// Text in pages that are both HTML and well-formed XML.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_REPORT_HTML_H_
#define WHIPSNAKE_ENGINE_FINETUNE_REPORT_HTML_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace whipsnake::engine {

// Foreign text as the content of an element or the value of a quoted attribute. What is not UTF-8,
// and control characters, which XML forbids, become U+FFFD; longer texts are cut after 1000 bytes.
std::string Escaped(std::string_view text);

// <tag>content</tag>, where content is HTML.
std::string Element(std::string_view tag, std::string_view content);
// <tag class="css_class">content</tag>
std::string Element(std::string_view tag, std::string_view css_class, std::string_view content);

// A <section> with a title. Both are HTML.
std::string Section(std::string_view title, std::string_view content);
// "12.5 %"; "" of nothing.
std::string Percent(int64_t part, int64_t whole);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_REPORT_HTML_H_
