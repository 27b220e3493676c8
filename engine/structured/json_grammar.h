// Grammars of JSON texts that need no schema: strings, lists in brackets, and values of any kind.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_JSON_GRAMMAR_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_JSON_GRAMMAR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/structured/code_points.h"
#include "engine/structured/expression.h"

namespace whipsnake::engine {

// The text is compact JSON, with at most one space after ':' and ','. Not thread-safe.
class JsonGrammar {
 public:
  // `pool` must outlive it.
  explicit JsonGrammar(ExpressionPool& pool);

  // Any JSON value.
  Expression value() const { return value_; }

  // One character of the set as written in a string. If the set is all of Unicode, any escape is
  // allowed; otherwise each character has only its usual form.
  Expression Character(const CodePointSet& set);
  // `content` between quotation marks.
  Expression Quoted(Expression content);
  // A string of `min_count` to `max_count` characters.
  Expression String(int64_t min_count, int64_t max_count);
  // A string that is none of `excluded`. It has no escapes, because they could spell one of those.
  Expression KeyExcept(std::vector<std::u32string> excluded);

  Expression Colon();
  Expression Comma();
  // From `min_count` to `max_count` elements between brackets, separated by commas.
  Expression Bracketed(char open, Expression element, int64_t min_count, int64_t max_count,
                       char close);

 private:
  Expression Space();
  Expression UnicodeEscape();

  ExpressionPool& pool_;
  Expression any_character_ = ExpressionPool::kNothing;
  Expression plain_character_ = ExpressionPool::kNothing;
  Expression value_ = ExpressionPool::kNothing;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_JSON_GRAMMAR_H_
