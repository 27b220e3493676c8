#include "engine/structured/json_grammar.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "engine/structured/number_grammar.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kUnbounded = ExpressionPool::kUnbounded;

// Characters that need no escape.
CodePointSet PlainCharacters() {
  return CodePointSet({{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, kLastCodePoint}});
}

// Builds the texts of plain characters that are none of a sorted list, from the leaves of the
// list's trie.
class ComplementBuilder {
 public:
  // `plain` is one plain character.
  ComplementBuilder(ExpressionPool& pool, Expression plain)
      : pool_(pool), any_text_(pool.Repeat(plain, 0, kUnbounded)) {}

  Expression Build(const std::vector<std::u32string>& sorted) {
    for (const std::u32string& text : sorted) {
      const auto differs =
          std::mismatch(last_.begin(), last_.end(), text.begin(), text.end()).first;
      CloseTo(differs - last_.begin());
      if (pool_.overflowed()) return ExpressionPool::kNothing;
      last_ = text;
      open_.resize(text.size() + 1);
      open_.back().is_excluded = true;
    }
    CloseTo(0);
    return Finish(open_.front());
  }

 private:
  struct Node {
    bool is_excluded = false;
    std::vector<CodePointRange> characters;  // that continue an excluded text
    std::vector<Expression> alternatives;    // for texts that continue with one of them
  };

  Expression Encode(const CodePointSet& set) {
    const auto [entry, is_new] = encoded_.try_emplace(set, ExpressionPool::kNothing);
    if (is_new) entry->second = Utf8(set, &pool_);
    return entry->second;
  }

  // The texts that may follow those of the node.
  Expression Finish(Node& node) {
    const CodePointSet others = plain_.Difference(CodePointSet(std::move(node.characters)));
    if (!node.is_excluded) node.alternatives.push_back(ExpressionPool::kEmpty);
    node.alternatives.push_back(pool_.Sequence(Encode(others), any_text_));
    return pool_.Choice(node.alternatives);
  }

  // Finishes the open nodes below `depth`.
  void CloseTo(size_t depth) {
    while (open_.size() > depth + 1 && !pool_.overflowed()) {
      const Expression rest = Finish(open_.back());
      open_.pop_back();
      const char32_t character = last_[open_.size() - 1];
      open_.back().characters.push_back({character, character});
      if (!plain_.Contains(character)) continue;  // it cannot be written without an escape
      const CodePointSet one({{character, character}});
      open_.back().alternatives.push_back(pool_.Sequence(Encode(one), rest));
    }
  }

  ExpressionPool& pool_;
  const CodePointSet plain_ = PlainCharacters();
  const Expression any_text_;
  std::map<CodePointSet, Expression> encoded_;     // the same few sets occur again and again
  std::u32string_view last_;                       // the excluded text that was added last
  std::vector<Node> open_ = std::vector<Node>(1);  // the nodes of its prefixes, by length
};

}  // namespace

JsonGrammar::JsonGrammar(ExpressionPool& pool) : pool_(pool) {
  any_character_ = Character(CodePointSet::All());
  plain_character_ = Utf8(PlainCharacters(), &pool_);
  value_ = pool_.NewRule();
  const Expression member =
      pool_.Sequence({Quoted(pool_.Repeat(any_character_, 0, kUnbounded)), Colon(), value_});
  pool_.DefineRule(
      value_, pool_.Choice({pool_.Literal("null"), pool_.Literal("true"), pool_.Literal("false"),
                            *DecimalGrammar({}, pool_), String(0, kUnbounded),
                            Bracketed('[', value_, 0, kUnbounded, ']'),
                            Bracketed('{', member, 0, kUnbounded, '}')}));
}

Expression JsonGrammar::Character(const CodePointSet& set) {
  std::vector<Expression> alternatives = {Utf8(set.Intersection(PlainCharacters()), &pool_)};
  constexpr std::string_view kLetters = "\"\\bfnrt", kEscaped = "\"\\\b\f\n\r\t";
  ByteSet letters;
  for (size_t i = 0; i < kLetters.size(); ++i) {
    if (set.Contains(static_cast<unsigned char>(kEscaped[i]))) letters.Add(kLetters[i]);
  }
  const bool all = set.ranges() == CodePointSet::All().ranges();
  if (all) letters.Add('/');
  alternatives.push_back(pool_.Sequence(pool_.Byte('\\'), pool_.Bytes(letters)));
  if (all) {
    alternatives.push_back(pool_.Sequence(pool_.Literal("\\u"), UnicodeEscape()));
  } else {
    for (int control = 0; control < 0x20; ++control) {
      if (!set.Contains(control) || kEscaped.find(static_cast<char>(control)) != kEscaped.npos)
        continue;
      constexpr std::string_view kHex = "0123456789abcdef";
      const std::string text = {'\\', 'u', '0', '0', kHex[control / 16], kHex[control % 16]};
      alternatives.push_back(pool_.Literal(text));
    }
  }
  return pool_.Choice(alternatives);
}

Expression JsonGrammar::Quoted(Expression content) {
  return pool_.Sequence({pool_.Byte('"'), content, pool_.Byte('"')});
}

Expression JsonGrammar::String(int64_t min_count, int64_t max_count) {
  return Quoted(pool_.Repeat(any_character_, min_count, max_count));
}

Expression JsonGrammar::KeyExcept(std::vector<std::u32string> excluded) {
  std::ranges::sort(excluded);
  return Quoted(ComplementBuilder(pool_, plain_character_).Build(excluded));
}

Expression JsonGrammar::Colon() { return pool_.Sequence(pool_.Byte(':'), Space()); }

Expression JsonGrammar::Comma() { return pool_.Sequence(pool_.Byte(','), Space()); }

Expression JsonGrammar::Space() { return pool_.Optional(pool_.Byte(' ')); }

Expression JsonGrammar::Bracketed(char open, Expression element, int64_t min_count,
                                  int64_t max_count, char close) {
  Expression content = ExpressionPool::kEmpty;
  if (max_count > 0) {
    const int64_t more = max_count == kUnbounded ? max_count : max_count - 1;
    content = pool_.Sequence(element, pool_.Repeat(pool_.Sequence(Comma(), element),
                                                   std::max<int64_t>(min_count - 1, 0), more));
    if (min_count == 0) content = pool_.Optional(content);
  }
  return pool_.Sequence({pool_.Byte(open), content, pool_.Byte(close)});
}

// What follows "\u": a character of one UTF-16 unit, or a surrogate pair.
Expression JsonGrammar::UnicodeEscape() {
  const auto hex = [&](std::string_view digits) { return pool_.Bytes(ByteSet::Of(digits)); };
  const Expression any = hex("0123456789abcdefABCDEF");
  const Expression single =
      pool_.Choice({pool_.Sequence(hex("0123456789abcefABCEF"), pool_.Repeat(any, 3, 3)),
                    pool_.Sequence({hex("dD"), hex("01234567"), any, any})});
  const Expression pair = pool_.Sequence({hex("dD"), hex("89abAB"), any, any, pool_.Literal("\\u"),
                                          hex("dD"), hex("cdefCDEF"), any, any});
  return pool_.Choice({single, pair});
}

}  // namespace whipsnake::engine
