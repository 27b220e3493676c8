#include "engine/structured/regex_grammar.h"

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/structured/character_classes.h"

namespace whipsnake::engine {
namespace {

constexpr int kMaxGroupDepth = 100;  // nesting depth of groups

CodePointSet SetOf(std::vector<CodePointRange> ranges) { return CodePointSet(std::move(ranges)); }

// The end of the group that `regex` begins with, or npos.
size_t GroupEnd(std::u32string_view regex) {
  int depth = 0;
  bool in_class = false;
  for (size_t i = 0; i < regex.size(); ++i) {
    const char32_t c = regex[i];
    if (c == '\\') {
      ++i;
    } else if (in_class) {
      in_class = c != ']';
    } else {
      in_class = c == '[';
      depth += (c == '(') - (c == ')');
      if (depth == 0) return i;
    }
  }
  return regex.npos;
}

// A recursive-descent parser, as deep as groups may be nested. After the first error, everything
// returns at once.
class Parser {
 public:
  // Where the expression must match: the whole text, or anywhere in it.
  enum class Match { kWhole, kAnywhere };

  Parser(std::u32string text, std::string_view field, CharacterEncoder encode, Match match,
         LookAhead look_ahead, ExpressionPool& pool)
      : text_(std::move(text)),
        field_(field),
        encode_(std::move(encode)),
        match_(match),
        look_ahead_(std::move(look_ahead)),
        pool_(pool) {}

  absl::StatusOr<Expression> Parse() {
    std::vector<Expression> alternatives;
    do {
      alternatives.push_back(ParseAlternative(match_ == Match::kAnywhere, 0));
    } while (TryConsume('|'));
    if (!AtEnd()) Refuse("an unmatched ')'", "a '(' before it");
    if (!status_.ok()) return status_;
    return pool_.Choice(alternatives);
  }

 private:
  bool AtEnd() const { return position_ >= text_.size() || !status_.ok(); }
  char32_t Peek() const { return AtEnd() ? U'\0' : text_[position_]; }
  bool TryConsume(char32_t c) {
    if (AtEnd() || text_[position_] != c) return false;
    ++position_;
    return true;
  }
  // Encodes a set once, however often it occurs.
  Expression Encode(const CodePointSet& set) {
    const auto [entry, is_new] = encoded_.try_emplace(set, ExpressionPool::kNothing);
    if (is_new) entry->second = encode_(set);
    return entry->second;
  }

  void Refuse(std::string_view seen, std::string_view expected) {
    if (!status_.ok()) return;
    status_ =
        InvalidField(field_, absl::StrCat(ToAbsl(seen), " at character ", position_), expected);
  }

  // What comes after a concatenation: another part, or the end of the whole expression, which is
  // then a part of the concatenation; the end of the text if `$` is there.
  enum class Then { kPart, kEnd, kTextEnd };

  Expression AnyText() {
    return pool_.Repeat(Encode(CodePointSet::All()), 0, ExpressionPool::kUnbounded);
  }

  // An alternative up to the end of the expression, with its anchors. If `anywhere`, it may begin
  // after other text.
  // NOLINTNEXTLINE(misc-no-recursion): groups are at most kMaxGroupDepth deep.
  Expression ParseAlternative(bool anywhere, int depth) {
    const bool from_start = TryConsume('^');
    if (from_start) text_start_ = position_;
    const Expression body = ParseConcatenation(depth, Then::kEnd);
    return anywhere && !from_start ? pool_.Sequence(AnyText(), body) : body;
  }

  // NOLINTNEXTLINE(misc-no-recursion): groups are at most kMaxGroupDepth deep.
  Expression ParseConcatenation(int depth, Then then) {
    std::vector<Expression> parts;
    while (!AtEnd() && Peek() != '|' && Peek() != ')' && Peek() != '$') {
      if (then != Then::kPart && IsLookAhead()) {
        parts.push_back(ParseLookAhead(depth, then));
        return AllOf(parts);
      }
      if (const auto last = ThenAfterGroup(then); last != Then::kPart) {
        parts.push_back(ParseGroup(depth, last));
        TryConsume('$');
        return AllOf(parts);
      }
      const Expression atom = ParseAtom(depth);
      parts.push_back(ParseQuantifier(atom));
    }
    if (then == Then::kPart) return AllOf(parts);
    const bool to_end = TryConsume('$') || then == Then::kTextEnd;
    if (!AtEnd() && Peek() != '|' && Peek() != ')') {
      Refuse("something after '$'", "'$' only at the end of an alternative");
    }
    if (match_ != Match::kWhole && !to_end) parts.push_back(AnyText());
    return AllOf(parts);
  }

  Expression AllOf(const std::vector<Expression>& parts) {
    Expression all = ExpressionPool::kEmpty;
    for (size_t i = parts.size(); i-- > 0;) all = pool_.Sequence(parts[i], all);
    return all;
  }

  bool IsLookAhead() const {
    const std::u32string_view rest = std::u32string_view(text_).substr(position_, 3);
    return rest == U"(?=" || rest == U"(?!";
  }

  // What follows the group that begins here, if it is the last part of a concatenation that `then`
  // follows; otherwise kPart.
  Then ThenAfterGroup(Then then) const {
    if (then == Then::kPart || Peek() != '(') return Then::kPart;
    const size_t end = GroupEnd(std::u32string_view(text_).substr(position_));
    if (end == std::u32string::npos) return Then::kPart;
    size_t next = position_ + end + 1;
    if (next < text_.size() && text_[next] == '$') {
      then = Then::kTextEnd;
      ++next;
    }
    const bool is_last = next >= text_.size() || text_[next] == '|' || text_[next] == ')';
    return is_last ? then : Then::kPart;
  }

  // The rest of the expression after a look-ahead, as far as that allows it.
  // NOLINTNEXTLINE(misc-no-recursion): groups are at most kMaxGroupDepth deep.
  Expression ParseLookAhead(int depth, Then then) {
    if (!look_ahead_ || depth >= kMaxGroupDepth) {
      Refuse("look-ahead", "an expression without it");
      return ExpressionPool::kNothing;
    }
    const bool negated = text_[position_ + 2] == '!';
    const bool at_start = position_ == text_start_;
    position_ += 3;
    std::vector<Expression> alternatives;
    do {
      if (Peek() == '^' && !at_start) Refuse("'^' in look-ahead", "it only at the start");
      alternatives.push_back(ParseAlternative(/*anywhere=*/false, depth + 1));
    } while (TryConsume('|'));
    if (!TryConsume(')')) Refuse("the end", "')'");
    if (at_start) text_start_ = position_;
    const Expression rest = ParseConcatenation(depth + 1, then);
    if (!status_.ok()) return ExpressionPool::kNothing;
    return look_ahead_(pool_.Choice(alternatives), negated, rest);
  }

  // NOLINTNEXTLINE(misc-no-recursion): groups are at most kMaxGroupDepth deep.
  Expression ParseAtom(int depth) {
    const char32_t c = Peek();
    switch (c) {
      case '(':
        return ParseGroup(depth, Then::kPart);
      case '[':
        return Encode(ParseBracketClass());
      case '.':
        ++position_;
        return Encode(DotCharacters());
      case '\\':
        return Encode(ParseEscape());
      case '^':
        Refuse("'^'", "'^' only at the start of a top-level alternative");
        return ExpressionPool::kNothing;
      case '*':
      case '+':
      case '?':
      case '{':
        Refuse("a quantifier", "something before it to repeat");
        return ExpressionPool::kNothing;
      case ']':
      case '}':
      default:
        ++position_;
        return Encode(SetOf({{c, c}}));
    }
  }

  // NOLINTNEXTLINE(misc-no-recursion): at most kMaxGroupDepth deep.
  Expression ParseGroup(int depth, Then then) {
    if (depth >= kMaxGroupDepth) {
      Refuse("groups nested too deeply", absl::StrCat("at most ", kMaxGroupDepth, " levels"));
      return ExpressionPool::kNothing;
    }
    TryConsume('(');
    if (TryConsume('?')) ParseGroupKind();
    std::vector<Expression> alternatives;
    do {
      alternatives.push_back(ParseConcatenation(depth + 1, then));
      if (Peek() == '$') Refuse("'$' in a group", "'$' only at the end of a top-level alternative");
    } while (TryConsume('|'));
    if (!TryConsume(')')) Refuse("the end", "')'");
    return pool_.Choice(alternatives);
  }

  // After "(?": accepts kinds of groups that do not change the language.
  void ParseGroupKind() {
    if (TryConsume(':')) return;
    TryConsume('P');
    if (TryConsume('<') && Peek() != '=' && Peek() != '!') {
      while (!AtEnd() && Peek() != '>') ++position_;
      if (TryConsume('>')) return;
    }
    Refuse(
        "a group of another kind",
        absl::StrCat("(...), (?:...) or (?<name>...): ",
                     match_ == Match::kWhole ? "look-around" : "look-around other than at the end",
                     " and inline flags are not supported"));
  }

  Expression ParseQuantifier(Expression atom) {
    int64_t min_count = 1, max_count = 1;
    if (TryConsume('*')) {
      min_count = 0, max_count = ExpressionPool::kUnbounded;
    } else if (TryConsume('+')) {
      max_count = ExpressionPool::kUnbounded;
    } else if (TryConsume('?')) {
      min_count = 0;
    } else if (Peek() == '{') {
      ParseCounts(min_count, max_count);
    } else {
      return atom;
    }
    TryConsume('?');  // lazy: the same language
    return pool_.Repeat(atom, min_count, max_count);
  }

  void ParseCounts(int64_t& min_count, int64_t& max_count) {
    TryConsume('{');
    min_count = max_count = ParseNumber();
    if (TryConsume(',')) max_count = Peek() == '}' ? ExpressionPool::kUnbounded : ParseNumber();
    if (!TryConsume('}')) Refuse("'{'", "{m}, {m,} or {m,n}; a literal one is \\{");
    if (max_count < min_count)
      Refuse(absl::StrCat("{", min_count, ",", max_count, "}"), "the lower number first");
  }

  int64_t ParseNumber() {
    int64_t value = 0;
    if (Peek() < '0' || Peek() > '9') Refuse("'{'", "{m}, {m,} or {m,n}; a literal one is \\{");
    while (Peek() >= '0' && Peek() <= '9') {
      value = value * 10 + (Peek() - '0');
      ++position_;
      if (value <= kMaxRepetitions) continue;
      Refuse("too many repetitions", absl::StrCat("at most ", kMaxRepetitions));
      break;
    }
    return value;
  }

  // An escape: a class or one character.
  CodePointSet ParseEscape() {
    TryConsume('\\');
    const char32_t c = Peek();
    if (AtEnd()) Refuse("a backslash at the end", "a character after it");
    if (const auto set = CharacterClass(c)) {
      ++position_;
      return *set;
    }
    const char32_t character = ParseEscapedCharacter();
    return SetOf({{character, character}});
  }

  char32_t ParseEscapedCharacter() {
    const char32_t c = Peek();
    constexpr std::u32string_view kLetters = U"ntrfv", kControls = U"\n\t\r\f\v";
    if (const size_t index = kLetters.find(c); index != kLetters.npos) {
      ++position_;
      return kControls[index];
    }
    if (c == 'x' || c == 'u') return ParseHexEscape();
    const bool is_word = CharacterClass('w')->Contains(c);
    if (is_word) {
      Refuse("an unknown escape",
             "\\d \\w \\s \\D \\W \\S \\n \\t \\r \\f \\v \\xHH \\uHHHH "
             "\\u{H...} or an escaped sign");
    }
    ++position_;
    return c;
  }

  char32_t ParseHexEscape() {
    const bool is_u = Peek() == 'u';
    ++position_;
    const bool braces = is_u && TryConsume('{');
    const int max_digits = braces ? 6 : is_u ? 4 : 2;
    char32_t value = 0;
    int digits = 0;
    for (; digits < max_digits; ++digits, ++position_) {
      const char32_t c = Peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) break;
      value = value * 16 + digit;
    }
    if ((braces ? digits == 0 || !TryConsume('}') : digits < max_digits) ||
        value > kLastCodePoint || IsSurrogate(value)) {
      Refuse("an invalid hexadecimal escape", "\\xHH, \\uHHHH or \\u{H...} of a character");
      return 0;
    }
    return value;
  }

  CodePointSet ParseBracketClass() {
    TryConsume('[');
    const bool negated = TryConsume('^');
    std::vector<CodePointRange> ranges;  // sorted once, because a class may have many members
    while (!AtEnd() && Peek() != ']') {
      if (IsPosixClass())
        Refuse("a class of POSIX", "\\d, \\w, \\s or ranges; a literal one is \\[");
      const CodePointSet member = ParseClassMember();
      ranges.insert(ranges.end(), member.ranges().begin(), member.ranges().end());
    }
    if (!TryConsume(']')) Refuse("the end", "']'");
    const CodePointSet set(std::move(ranges));
    return negated ? set.Complement() : set;
  }

  // Whether "[:name:]" is here, which ECMA-262 reads as other characters than those of its name.
  bool IsPosixClass() const {
    size_t at = position_;
    const auto is_at = [&](char32_t c) { return at < text_.size() && text_[at] == c; };
    if (!is_at('[') || (++at, !is_at(':'))) return false;
    const size_t name = ++at;
    while (at < text_.size() && text_[at] >= 'a' && text_[at] <= 'z') ++at;
    return at > name && is_at(':') && (++at, is_at(']'));
  }

  CodePointSet ParseClassMember() {
    CodePointSet first;
    if (Peek() == '\\') {
      first = ParseEscape();
      if (first.ranges().size() != 1 || first.ranges()[0].first != first.ranges()[0].last) {
        return first;  // a class cannot begin a range
      }
    } else {
      first = SetOf({{Peek(), Peek()}});
      ++position_;
    }
    if (Peek() != '-' || position_ + 1 >= text_.size() || text_[position_ + 1] == ']') return first;
    TryConsume('-');
    const CodePointSet last =
        Peek() == '\\' ? ParseEscape() : SetOf({{Peek(), text_[position_++]}});
    if (!status_.ok() || first.empty() || last.ranges().size() != 1) {
      Refuse("a range with a class as an end", "one character at either end");
      return {};
    }
    const CodePointRange range{first.ranges()[0].first, last.ranges()[0].last};
    if (range.first > range.last)
      Refuse("a range that runs backwards", "the lower character first");
    return SetOf({range});
  }

  const std::u32string text_;
  const std::string field_;
  const CharacterEncoder encode_;
  const Match match_;
  const LookAhead look_ahead_;
  ExpressionPool& pool_;
  std::map<CodePointSet, Expression> encoded_;
  size_t position_ = 0;
  size_t text_start_ = ~size_t{0};  // the position of what is at the start of the text
  absl::Status status_;
};

absl::StatusOr<Expression> Compile(std::string_view regex, std::string_view field,
                                   CharacterEncoder encode, Parser::Match match,
                                   const LookAhead& look_ahead, ExpressionPool& pool) {
  std::u32string text;
  if (const size_t bad = FindInvalidUtf8(regex); bad != regex.npos) {
    return InvalidField(field, absl::StrCat("a byte that is not UTF-8 at ", bad), "UTF-8 text");
  }
  for (size_t at = 0; at < regex.size();) text += NextCodePoint(regex, &at);
  return Parser(std::move(text), field, std::move(encode), match, look_ahead, pool).Parse();
}

}  // namespace

absl::StatusOr<Expression> CompileRegex(std::string_view regex, std::string_view field,
                                        ExpressionPool& pool) {
  const auto encode = [&pool](const CodePointSet& set) { return Utf8(set, &pool); };
  return Compile(regex, field, encode, Parser::Match::kWhole, {}, pool);
}

absl::StatusOr<Expression> CompilePattern(std::string_view regex, std::string_view field,
                                          const CharacterEncoder& encode,
                                          const LookAhead& look_ahead, ExpressionPool& pool) {
  return Compile(regex, field, encode, Parser::Match::kAnywhere, look_ahead, pool);
}

}  // namespace whipsnake::engine
