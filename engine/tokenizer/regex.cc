#include "engine/tokenizer/regex.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// Oniguruma's \w: that of UTS #18 without U+200C and U+200D, plus the superscripts and fractions of
// Latin-1.
constexpr char kWord[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u00B2\\u00B3\\u00B9\\u00BC-\\u00BE";
constexpr char kHex[] = "0-9A-Fa-f";

// Rewrites constructs that Oniguruma and ICU spell differently, and rejects those that ICU would
// interpret differently.
//
// ICU remembers every repetition of "[set]+", so that a long run of white space would exceed its
// memory, but only the ends of "[set]*". So a class C becomes a set, C+ becomes CC*, and C{n,}
// becomes C{n}C*, which match the same.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  // Returns false if the pattern has a construct that is not translated; `rejected` is that
  // construct.
  bool Run() {
    while (pos_ < pattern_.size()) {
      if (!Next()) return false;
    }
    return true;
  }

  std::string translated;
  std::string_view rejected;

 private:
  bool Next() {
    const char c = pattern_[pos_];
    if (c == '\\') return Escape();
    if (c == '(' && set_depth_ == 0 && Ahead("(?")) return Group();
    // In Ruby, the + of a{1,3}+ repeats the whole; in ICU it makes the quantifier possessive.
    if (c == '}' && set_depth_ == 0 && Ahead("}+")) return Reject(2);
    // ICU subtracts sets with --; Ruby has no such operator.
    if (c == '-' && set_depth_ > 0 && Ahead("--")) return Reject(2);
    if (set_depth_ == 0 && !class_.empty() && (c == '+' || c == '{')) return Repetition();
    // To Ruby, the bracket is in the set; to ICU, the set is empty.
    if (c == '[' && (Ahead("[]") || Ahead("[^]"))) return Reject(2);
    if (c == '[' && set_depth_++ == 0) set_begin_ = translated.size();
    if (c != ']' || set_depth_ == 0 || --set_depth_ > 0) return Copy(1);
    Copy(1);
    class_ = translated.substr(set_begin_);
    return true;
  }

  // A greedy repetition of class_ without an upper limit is rewritten.
  bool Repetition() {
    const std::string repeated = std::exchange(class_, "");
    size_t length = 1;
    if (pattern_[pos_] == '{') {
      const size_t end = pattern_.find(",}", pos_);
      if (end == std::string_view::npos || end == pos_ + 1 ||
          pattern_.find_first_not_of("0123456789", pos_ + 1) != end) {
        return Copy(1);
      }
      length = end + 2 - pos_;
    }
    const std::string_view mode = pattern_.substr(pos_ + length, 1);
    if (mode == "+" || mode == "?") return Copy(1);
    std::string least(pattern_.substr(pos_, length));
    if (length == 1) return Replace(1, repeated + "*");
    least.erase(least.size() - 2, 1);  // the comma
    return Replace(length, absl::StrCat(least, repeated, "*"));
  }

  bool Escape() {
    const char c = pos_ + 1 < pattern_.size() ? pattern_[pos_ + 1] : '\0';
    switch (c) {
      case 'w':
        return Class(2, absl::StrCat("[", kWord, "]"));
      case 'W':
        return Class(2, absl::StrCat("[^", kWord, "]"));
      case 'h':
        return Class(2, absl::StrCat("[", kHex, "]"));
      case 'H':
        return Class(2, absl::StrCat("[^", kHex, "]"));
      case 'v':
        return Replace(2, "\\x0B");
      default:
        break;
    }
    const bool letter_or_digit =
        (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    const bool same = std::string_view("pPsSdDnrtfeaxuAz").find(c) != std::string_view::npos;
    if (letter_or_digit && !same) return Reject(2);
    // Copy \p{L} and \x{41} as a whole, because their closing brace does not end a repetition.
    const size_t brace = std::string_view("pPx").find(c) == std::string_view::npos ||
                                 pattern_.substr(pos_ + 2, 1) != "{"
                             ? std::string_view::npos
                             : pattern_.find('}', pos_);
    const size_t length = brace == std::string_view::npos ? 2 : brace + 1 - pos_;
    const bool is_class = std::string_view("sSdDpP").find(c) != std::string_view::npos;
    if (!is_class || set_depth_ > 0) return Copy(length);
    return Class(length, absl::StrCat("[", ToAbsl(pattern_.substr(pos_, length)), "]"));
  }

  bool Group() {
    for (const char* same : {"(?:", "(?=", "(?!", "(?>", "(?<", "(?i:", "(?-i:", "(?#"}) {
      if (Ahead(same)) return Copy(std::string_view(same).size());
    }
    // Except at the start, Ruby's (?i) extends over the alternatives after it.
    if (pos_ == 0 && Ahead("(?i)")) return Copy(4);
    return Reject(3);
  }

  bool Ahead(std::string_view text) const { return pattern_.substr(pos_, text.size()) == text; }
  bool Copy(size_t length) { return Replace(length, std::string(pattern_.substr(pos_, length))); }
  bool Replace(size_t length, const std::string& with) {
    translated += with;
    pos_ += length;
    class_.clear();
    return true;
  }
  // Like Replace, with a class as a set.
  bool Class(size_t length, const std::string& with) {
    Replace(length, with);
    if (set_depth_ == 0) class_ = with;
    return true;
  }
  bool Reject(size_t length) {
    rejected = pattern_.substr(pos_, length);
    return false;
  }

  std::string_view pattern_;
  size_t pos_ = 0;
  int set_depth_ = 0;
  size_t set_begin_ = 0;  // in translated, of the outermost set
  std::string class_;     // the set that `translated` ends with, "" if it ends otherwise
};

// Maps increasing positions in the UTF-16 form of well-formed UTF-8 text to positions in the UTF-8.
class Utf8Position {
 public:
  explicit Utf8Position(std::string_view text) : text_(text) {}

  size_t MoveTo(int32_t utf16) {
    while (utf16_ < utf16) {
      const uint8_t lead = text_[utf8_];
      utf8_ += lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
      utf16_ += lead < 0xF0 ? 1 : 2;
    }
    return utf8_;
  }

 private:
  std::string_view text_;
  size_t utf8_ = 0;
  int32_t utf16_ = 0;
};

// ICU's unit is about 10,000 steps of its engine, for one match. Ten million steps plus ten per
// character are far more than any pattern in use needs.
int32_t TimeLimit(int32_t length) { return 1000 + length / 1000; }

}  // namespace

absl::StatusOr<Regex> Regex::Compile(const JsonView& view) {
  ASSIGN_OR_RETURN(const std::string pattern, view.Text());
  Translator translator(pattern);
  if (!translator.Run()) {
    return view.Unsupported("regular expression construct", translator.rejected,
                            "one that Oniguruma and ICU read alike");
  }
  // In Ruby, ^ and $ match at line ends, and only \n ends a line.
  constexpr uint32_t kRubyLines = UREGEX_MULTILINE | UREGEX_UNIX_LINES;
  UErrorCode error = U_ZERO_ERROR;
  UParseError where;
  std::unique_ptr<const icu::RegexPattern> compiled(icu::RegexPattern::compile(
      icu::UnicodeString::fromUTF8(translator.translated), kRubyLines, where, error));
  if (U_FAILURE(error)) {
    return view.Invalid(absl::StrCat("a regular expression (", u_errorName(error), ")"));
  }
  return Regex(std::move(compiled));
}

absl::Status Regex::FindAll(std::string_view text, std::vector<Span>* matches) const {
  UErrorCode error = U_ZERO_ERROR;
  const icu::UnicodeString utf16 = icu::UnicodeString::fromUTF8(
      icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  const std::unique_ptr<icu::RegexMatcher> matcher(pattern_->matcher(utf16, error));
  if (U_SUCCESS(error)) matcher->setTimeLimit(TimeLimit(utf16.length()), error);
  Utf8Position position(text);
  int32_t last_end = -1;
  while (U_SUCCESS(error) && matcher->find(error)) {
    const int32_t begin = matcher->start(error);
    const int32_t end = matcher->end(error);
    // Like Oniguruma, skip an empty match right after the previous match.
    if (begin == end && begin == last_end) continue;
    const size_t from = position.MoveTo(begin);
    matches->push_back({from, position.MoveTo(end)});
    last_end = end;
  }
  if (U_SUCCESS(error)) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("a regular expression on a text of ",
                                                   text.size(), " bytes: ", u_errorName(error)));
}

}  // namespace whipsnake::engine
