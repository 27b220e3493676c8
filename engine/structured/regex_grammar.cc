#include "engine/structured/regex_grammar.h"

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/utf8.h"

namespace whipsnake::engine {
namespace {

constexpr int kMaxGroupDepth = 100;  // nesting depth of groups

CodePointSet SetOf(std::vector<CodePointRange> ranges) { return CodePointSet(std::move(ranges)); }
CodePointSet Digits() { return SetOf({{'0', '9'}}); }
CodePointSet WordCharacters() { return SetOf({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}); }
// WhiteSpace and LineTerminator of ECMA-262.
CodePointSet Spaces() {
  return SetOf({{'\t', '\r'},
                {' ', ' '},
                {0xa0, 0xa0},
                {0x1680, 0x1680},
                {0x2000, 0x200a},
                {0x2028, 0x2029},
                {0x202f, 0x202f},
                {0x205f, 0x205f},
                {0x3000, 0x3000},
                {0xfeff, 0xfeff}});
}
// What `.` does not match: LineTerminator of ECMA-262.
CodePointSet LineTerminators() { return SetOf({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}); }

std::optional<CodePointSet> ClassOf(char32_t letter) {
  switch (letter) {
    case 'd':
      return Digits();
    case 'w':
      return WordCharacters();
    case 's':
      return Spaces();
    case 'D':
      return Digits().Complement();
    case 'W':
      return WordCharacters().Complement();
    case 'S':
      return Spaces().Complement();
    default:
      return std::nullopt;
  }
}

// A recursive-descent parser, as deep as groups may be nested. After the first error, everything
// returns at once.
class Parser {
 public:
  // Where the expression must match: the whole text, anywhere in it, or at its start.
  enum class Match { kWhole, kAnywhere, kAtStart };

  Parser(std::u32string text, std::string_view field, CharacterEncoder encode, Match match,
         ExpressionPool& pool)
      : text_(std::move(text)),
        field_(field),
        encode_(std::move(encode)),
        match_(match),
        pool_(pool) {}

  absl::StatusOr<Expression> Parse() {
    std::vector<Expression> alternatives;
    do {
      alternatives.push_back(ParseAlternative());
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

  // A top-level alternative, with its anchors.
  Expression ParseAlternative() {
    const bool from_start = TryConsume('^');
    const Expression body = ParseConcatenation(0);
    const bool to_end = TryConsume('$');
    if (!AtEnd() && Peek() != '|' && Peek() != ')') {
      Refuse("something after '$'", "'$' only at the end of an alternative");
    }
    if (match_ == Match::kWhole) return body;
    const Expression any = pool_.Repeat(Encode(CodePointSet::All()), 0, ExpressionPool::kUnbounded);
    const bool anchored = from_start || match_ == Match::kAtStart;
    return pool_.Sequence(
        {anchored ? ExpressionPool::kEmpty : any, body, to_end ? ExpressionPool::kEmpty : any});
  }

  // NOLINTNEXTLINE(misc-no-recursion): groups are at most kMaxGroupDepth deep.
  Expression ParseConcatenation(int depth) {
    std::vector<Expression> parts;
    while (!AtEnd() && Peek() != '|' && Peek() != ')' && Peek() != '$') {
      const Expression atom = ParseAtom(depth);
      parts.push_back(ParseQuantifier(atom));
    }
    Expression all = ExpressionPool::kEmpty;
    for (size_t i = parts.size(); i-- > 0;) all = pool_.Sequence(parts[i], all);
    return all;
  }

  // NOLINTNEXTLINE(misc-no-recursion): groups are at most kMaxGroupDepth deep.
  Expression ParseAtom(int depth) {
    const char32_t c = Peek();
    switch (c) {
      case '(':
        return ParseGroup(depth);
      case '[':
        return Encode(ParseBracketClass());
      case '.':
        ++position_;
        return Encode(LineTerminators().Complement());
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
  Expression ParseGroup(int depth) {
    if (depth >= kMaxGroupDepth) {
      Refuse("groups nested too deeply", absl::StrCat("at most ", kMaxGroupDepth, " levels"));
      return ExpressionPool::kNothing;
    }
    TryConsume('(');
    if (TryConsume('?')) ParseGroupKind();
    std::vector<Expression> alternatives;
    do {
      alternatives.push_back(ParseConcatenation(depth + 1));
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
    Refuse("a group of another kind",
           absl::StrCat("(...), (?:...) or (?<name>...): ",
                        match_ == Match::kWhole ? "look-around" : "look-around after the start",
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
    if (const auto set = ClassOf(c)) {
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
    const bool is_word = c < 128 && WordCharacters().Contains(c);
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
      const CodePointSet member = ParseClassMember();
      ranges.insert(ranges.end(), member.ranges().begin(), member.ranges().end());
    }
    if (!TryConsume(']')) Refuse("the end", "']'");
    const CodePointSet set(std::move(ranges));
    return negated ? set.Complement() : set;
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
  ExpressionPool& pool_;
  std::map<CodePointSet, Expression> encoded_;
  size_t position_ = 0;
  absl::Status status_;
};

// Calls visit(i, depth) for each character of `regex` that is neither escaped nor in a class, with
// the depth of groups after it, until visit returns true. Returns that index, or npos.
size_t FindUnescaped(std::string_view regex, const auto& visit) {
  int depth = 0;
  bool in_class = false;
  for (size_t i = 0; i < regex.size(); ++i) {
    const char c = regex[i];
    if (c == '\\') {
      ++i;
    } else if (in_class) {
      in_class = c != ']';
    } else {
      in_class = c == '[';
      depth += (c == '(') - (c == ')');
      if (visit(c, depth)) return i;
    }
  }
  return regex.npos;
}

// The end of the group that `regex` begins with.
size_t GroupEnd(std::string_view regex) {
  return FindUnescaped(regex, [](char c, int depth) { return c == ')' && depth == 0; });
}

bool HasTopLevelBar(std::string_view regex) {
  return FindUnescaped(regex, [](char c, int depth) { return c == '|' && depth == 0; }) !=
         regex.npos;
}

absl::StatusOr<Expression> Compile(std::string_view regex, std::string_view field,
                                   CharacterEncoder encode, Parser::Match match,
                                   ExpressionPool& pool) {
  std::u32string text;
  if (const size_t bad = FindInvalidUtf8(regex); bad != regex.npos) {
    return InvalidField(field, absl::StrCat("a byte that is not UTF-8 at ", bad), "UTF-8 text");
  }
  for (size_t at = 0; at < regex.size();) text += NextCodePoint(regex, &at);
  return Parser(std::move(text), field, std::move(encode), match, pool).Parse();
}

}  // namespace

absl::StatusOr<Expression> CompileRegex(std::string_view regex, std::string_view field,
                                        ExpressionPool& pool) {
  const auto encode = [&pool](const CodePointSet& set) { return Utf8(set, &pool); };
  return Compile(regex, field, encode, Parser::Match::kWhole, pool);
}

absl::StatusOr<Expression> CompilePattern(std::string_view regex, std::string_view field,
                                          PatternStart start, const CharacterEncoder& encode,
                                          ExpressionPool& pool) {
  const auto match =
      start == PatternStart::kAtStart ? Parser::Match::kAtStart : Parser::Match::kAnywhere;
  return Compile(regex, field, encode, match, pool);
}

std::vector<PatternPart> SplitLookAhead(std::string_view regex) {
  std::vector<PatternPart> parts;
  std::string_view rest = regex.starts_with('^') ? regex.substr(1) : "";
  while (rest.starts_with("(?=") || rest.starts_with("(?!")) {
    const size_t end = GroupEnd(rest);
    if (end == rest.npos) break;
    parts.push_back({.regex = std::string(rest.substr(3, end - 3)),
                     .start = PatternStart::kAtStart,
                     .negated = rest[2] == '!'});
    rest.remove_prefix(end + 1);
  }
  // Another alternative would not have the look-ahead; the parser refuses it there.
  if (parts.empty() || HasTopLevelBar(rest)) return {{.regex = std::string(regex)}};
  parts.push_back({.regex = absl::StrCat("^", ToAbsl(rest))});
  return parts;
}

}  // namespace whipsnake::engine
