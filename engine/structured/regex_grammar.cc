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

CodePointSet Of(std::vector<CodePointRange> ranges) { return CodePointSet(std::move(ranges)); }
CodePointSet Digits() { return Of({{'0', '9'}}); }
CodePointSet WordCharacters() { return Of({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}); }
CodePointSet Spaces() { return Of({{'\t', '\r'}, {' ', ' '}}); }

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
  Parser(std::u32string text, std::string_view field, CharacterEncoder encode, bool search,
         ExpressionPool& pool)
      : text_(std::move(text)),
        field_(field),
        encode_(std::move(encode)),
        search_(search),
        pool_(pool) {}

  absl::StatusOr<Expression> Parse() {
    std::vector<Expression> alternatives;
    do {
      alternatives.push_back(Alternative());
    } while (Take('|'));
    if (!AtEnd()) Refuse("an unmatched ')'", "an opening one before it");
    if (!status_.ok()) return status_;
    return pool_.Choice(alternatives);
  }

 private:
  bool AtEnd() const { return at_ >= text_.size() || !status_.ok(); }
  char32_t Peek() const { return AtEnd() ? U'\0' : text_[at_]; }
  bool Take(char32_t c) {
    if (AtEnd() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  // Encodes a set once, however often it occurs.
  Expression Encoded(const CodePointSet& set) {
    const auto [place, is_new] = encoded_.try_emplace(set, ExpressionPool::kNothing);
    if (is_new) place->second = encode_(set);
    return place->second;
  }

  void Refuse(std::string_view seen, std::string_view expected) {
    if (!status_.ok()) return;
    status_ = InvalidField(field_, absl::StrCat(ToAbsl(seen), " at character ", at_), expected);
  }

  // A top-level alternative, with its anchors.
  Expression Alternative() {
    const bool from_start = Take('^');
    const Expression body = Concatenation(0);
    const bool to_end = Take('$');
    if (!AtEnd() && Peek() != '|' && Peek() != ')') {
      Refuse("something after '$'", "'$' only at the end of an alternative");
    }
    if (!search_) return body;
    const Expression any =
        pool_.Repeat(Encoded(CodePointSet::All()), 0, ExpressionPool::kUnbounded);
    return pool_.Sequence(
        {from_start ? ExpressionPool::kEmpty : any, body, to_end ? ExpressionPool::kEmpty : any});
  }

  // NOLINTNEXTLINE(misc-no-recursion): groups are at most kMaxGroupDepth deep.
  Expression Concatenation(int depth) {
    std::vector<Expression> parts;
    while (!AtEnd() && Peek() != '|' && Peek() != ')' && Peek() != '$') {
      const Expression atom = Atom(depth);
      parts.push_back(Quantified(atom));
    }
    Expression all = ExpressionPool::kEmpty;
    for (size_t i = parts.size(); i-- > 0;) all = pool_.Sequence(parts[i], all);
    return all;
  }

  // NOLINTNEXTLINE(misc-no-recursion): groups are at most kMaxGroupDepth deep.
  Expression Atom(int depth) {
    const char32_t c = Peek();
    switch (c) {
      case '(':
        return Group(depth);
      case '[':
        return Encoded(BracketClass());
      case '.':
        ++at_;
        return Encoded(Of({{'\n', '\n'}}).Complement());
      case '\\':
        return Encoded(Escape());
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
        ++at_;
        return Encoded(Of({{c, c}}));
    }
  }

  // NOLINTNEXTLINE(misc-no-recursion): at most kMaxGroupDepth deep.
  Expression Group(int depth) {
    if (depth >= kMaxGroupDepth) {
      Refuse("groups nested too deeply", absl::StrCat("at most ", kMaxGroupDepth, " levels"));
      return ExpressionPool::kNothing;
    }
    Take('(');
    if (Take('?')) GroupKind();
    std::vector<Expression> alternatives;
    do {
      alternatives.push_back(Concatenation(depth + 1));
      if (Peek() == '$') Refuse("'$' in a group", "'$' only at the end of a top-level alternative");
    } while (Take('|'));
    if (!Take(')')) Refuse("the end", "')'");
    return pool_.Choice(alternatives);
  }

  // After "(?": accepts kinds of groups that do not change the language.
  void GroupKind() {
    if (Take(':')) return;
    Take('P');
    if (Take('<') && Peek() != '=' && Peek() != '!') {
      while (!AtEnd() && Peek() != '>') ++at_;
      if (Take('>')) return;
    }
    Refuse("a group of another kind",
           "(...), (?:...) or (?<name>...): look-around and inline flags are not supported");
  }

  Expression Quantified(Expression atom) {
    int64_t least = 1, most = 1;
    if (Take('*')) {
      least = 0, most = ExpressionPool::kUnbounded;
    } else if (Take('+')) {
      most = ExpressionPool::kUnbounded;
    } else if (Take('?')) {
      least = 0;
    } else if (Peek() == '{') {
      Counts(least, most);
    } else {
      return atom;
    }
    Take('?');  // lazy: the same language
    return pool_.Repeat(atom, least, most);
  }

  void Counts(int64_t& least, int64_t& most) {
    Take('{');
    least = most = Number();
    if (Take(',')) most = Peek() == '}' ? ExpressionPool::kUnbounded : Number();
    if (!Take('}')) Refuse("'{'", "{m}, {m,} or {m,n}; a literal one is \\{");
    if (most < least) Refuse(absl::StrCat("{", least, ",", most, "}"), "the lower number first");
  }

  int64_t Number() {
    int64_t value = 0;
    if (Peek() < '0' || Peek() > '9') Refuse("'{'", "{m}, {m,} or {m,n}; a literal one is \\{");
    while (Peek() >= '0' && Peek() <= '9') {
      value = value * 10 + (Peek() - '0');
      ++at_;
      if (value <= kMaxRepetitions) continue;
      Refuse("too many repetitions", absl::StrCat("at most ", kMaxRepetitions));
      break;
    }
    return value;
  }

  // An escape: a class or one character.
  CodePointSet Escape() {
    Take('\\');
    const char32_t c = Peek();
    if (AtEnd()) Refuse("a backslash at the end", "a character after it");
    if (const auto set = ClassOf(c)) {
      ++at_;
      return *set;
    }
    const char32_t character = EscapedCharacter();
    return Of({{character, character}});
  }

  char32_t EscapedCharacter() {
    const char32_t c = Peek();
    constexpr std::u32string_view kLetters = U"ntrfv", kControls = U"\n\t\r\f\v";
    if (const size_t place = kLetters.find(c); place != kLetters.npos) {
      ++at_;
      return kControls[place];
    }
    if (c == 'x' || c == 'u') return HexEscape();
    const bool is_word = c < 128 && WordCharacters().Contains(c);
    if (is_word) {
      Refuse("an unknown escape",
             "\\d \\w \\s \\D \\W \\S \\n \\t \\r \\f \\v \\xHH \\uHHHH "
             "\\u{H...} or an escaped sign");
    }
    ++at_;
    return c;
  }

  char32_t HexEscape() {
    const bool is_u = Peek() == 'u';
    ++at_;
    const bool braces = is_u && Take('{');
    const int most = braces ? 6 : is_u ? 4 : 2;
    char32_t value = 0;
    int digits = 0;
    for (; digits < most; ++digits, ++at_) {
      const char32_t c = Peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) break;
      value = value * 16 + digit;
    }
    if ((braces ? digits == 0 || !Take('}') : digits < most) || value > kLastCodePoint ||
        IsSurrogate(value)) {
      Refuse("a hexadecimal escape", "\\xHH, \\uHHHH or \\u{H...} of a character");
      return 0;
    }
    return value;
  }

  CodePointSet BracketClass() {
    Take('[');
    const bool negated = Take('^');
    std::vector<CodePointRange> ranges;  // sorted once, because a class may have many members
    while (!AtEnd() && Peek() != ']') {
      const CodePointSet member = ClassMember();
      ranges.insert(ranges.end(), member.ranges().begin(), member.ranges().end());
    }
    if (!Take(']')) Refuse("the end", "']'");
    const CodePointSet set(std::move(ranges));
    return negated ? set.Complement() : set;
  }

  CodePointSet ClassMember() {
    CodePointSet first;
    if (Peek() == '\\') {
      first = Escape();
      if (first.ranges().size() != 1 || first.ranges()[0].first != first.ranges()[0].last) {
        return first;  // a class cannot begin a range
      }
    } else {
      first = Of({{Peek(), Peek()}});
      ++at_;
    }
    if (Peek() != '-' || at_ + 1 >= text_.size() || text_[at_ + 1] == ']') return first;
    Take('-');
    const CodePointSet last = Peek() == '\\' ? Escape() : Of({{Peek(), text_[at_++]}});
    if (!status_.ok() || first.empty() || last.ranges().size() != 1) {
      Refuse("a range", "one character at either end");
      return {};
    }
    const CodePointRange range{first.ranges()[0].first, last.ranges()[0].last};
    if (range.first > range.last)
      Refuse("a range that runs backwards", "the lower character first");
    return Of({range});
  }

  const std::u32string text_;
  const std::string field_;
  const CharacterEncoder encode_;
  const bool search_;
  ExpressionPool& pool_;
  std::map<CodePointSet, Expression> encoded_;
  size_t at_ = 0;
  absl::Status status_;
};

absl::StatusOr<Expression> Compile(std::string_view regex, std::string_view field,
                                   CharacterEncoder encode, bool search, ExpressionPool& pool) {
  std::u32string text;
  if (const size_t bad = FindInvalidUtf8(regex); bad != regex.npos) {
    return InvalidField(field, absl::StrCat("a byte that is not UTF-8 at ", bad), "UTF-8 text");
  }
  for (size_t at = 0; at < regex.size();) text += NextCodePoint(regex, &at);
  return Parser(std::move(text), field, std::move(encode), search, pool).Parse();
}

}  // namespace

absl::StatusOr<Expression> CompileRegex(std::string_view regex, std::string_view field,
                                        ExpressionPool& pool) {
  const auto encode = [&pool](const CodePointSet& set) { return Utf8(set, &pool); };
  return Compile(regex, field, encode, /*search=*/false, pool);
}

absl::StatusOr<Expression> CompilePattern(std::string_view regex, std::string_view field,
                                          const CharacterEncoder& encode, ExpressionPool& pool) {
  return Compile(regex, field, encode, /*search=*/true, pool);
}

}  // namespace whipsnake::engine
