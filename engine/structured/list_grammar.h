// Grammars of lists in brackets whose elements come in a given order and may be left out: the
// members of an object, the items of a set.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_LIST_GRAMMAR_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_LIST_GRAMMAR_H_

#include <cstdint>
#include <vector>

#include "engine/structured/expression.h"
#include "engine/structured/json_grammar.h"

namespace whipsnake::engine {

struct ListElement {
  Expression text = ExpressionPool::kNothing;
  bool required = false;
};

// `elements` in their order, each at most once, and then any number of `other`, which may be
// kNothing: `min_count` to `max_count` altogether. `max_count` may be kUnbounded. Two of `other`
// may be the same, so only one of them counts towards the minimum.
Expression OrderedList(char open, const std::vector<ListElement>& elements, Expression other,
                       int64_t min_count, int64_t max_count, char close, JsonGrammar& json,
                       ExpressionPool& pool);

// `min_count` to `max_count` of `elements`, each at most once: in any order if there are at most
// kMaxAnyOrder, otherwise in their order.
inline constexpr size_t kMaxAnyOrder = 8;
Expression DistinctList(const std::vector<Expression>& elements, int64_t min_count,
                        int64_t max_count, JsonGrammar& json, ExpressionPool& pool);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_LIST_GRAMMAR_H_
