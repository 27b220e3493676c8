#include "engine/structured/list_grammar.h"

#include <algorithm>
#include <bit>

namespace whipsnake::engine {
namespace {

constexpr int64_t kUnboundedCount = ExpressionPool::kUnbounded;

// What may follow `count` elements, if no more of those with a place come.
Expression Tail(Expression other, int64_t count, int64_t min_count, int64_t max_count,
                JsonGrammar& json, ExpressionPool& pool) {
  const int64_t min_left = std::max<int64_t>(min_count - count, 0);
  const int64_t max_left = max_count == kUnboundedCount ? max_count : max_count - count;
  if (max_left < min_left || min_left > 1) return ExpressionPool::kNothing;
  const Expression next = pool.Sequence(json.Comma(), other);
  if (count > 0 || max_left == 0) return pool.Repeat(next, min_left, max_left);
  const int64_t more = max_left == kUnboundedCount ? max_left : max_left - 1;
  const Expression all =
      pool.Sequence(other, pool.Repeat(next, std::max<int64_t>(min_left - 1, 0), more));
  return min_left == 0 ? pool.Optional(all) : all;
}

}  // namespace

// Built from the end: `after[c]` is what may follow c elements. Counts from `last` on are the same:
// they are enough, and never too many.
Expression OrderedList(char open, const std::vector<ListElement>& elements, Expression other,
                       int64_t min_count, int64_t max_count, char close, JsonGrammar& json,
                       ExpressionPool& pool) {
  const auto size = std::ssize(elements);
  if (other == ExpressionPool::kNothing && max_count >= size) max_count = kUnboundedCount;
  const bool bounded = max_count != kUnboundedCount;
  const int64_t last = bounded
                           ? std::min(max_count, size)
                           : std::min(std::max<int64_t>(min_count, 1), std::max<int64_t>(size, 1));
  std::vector<Expression> after;
  for (int64_t count = 0; count <= last; ++count) {
    after.push_back(Tail(other, count, min_count, max_count, json, pool));
  }
  for (int64_t i = size; i-- > 0 && !pool.overflowed();) {
    const ListElement& element = elements[i];
    // Rising counts use the entries above them before those are replaced, except the last, which
    // leads to itself.
    for (int64_t count = 0; count <= std::min(last, i) && pool.Spend(1); ++count) {
      const bool may_add = !bounded || count < max_count;
      const Expression rest = may_add ? after[std::min(count + 1, last)] : ExpressionPool::kNothing;
      const Expression text = count == 0 ? element.text : pool.Sequence(json.Comma(), element.text);
      const Expression with = pool.Sequence(text, rest);
      after[count] = element.required ? with : pool.Choice({with, after[count]});
    }
  }
  return pool.Sequence({pool.Byte(open), after.front(), pool.Byte(close)});
}

Expression DistinctList(const std::vector<Expression>& elements, int64_t min_count,
                        int64_t max_count, JsonGrammar& json, ExpressionPool& pool) {
  if (elements.size() > kMaxAnyOrder) {
    std::vector<ListElement> ordered;
    for (const Expression text : elements) ordered.push_back({.text = text});
    return OrderedList('[', ordered, ExpressionPool::kNothing, min_count, max_count, ']', json,
                       pool);
  }
  // after[used] is what may follow the elements whose bits are set.
  const uint32_t all = (uint32_t{1} << elements.size()) - 1;
  std::vector<Expression> after(all + 1);
  for (uint32_t used = all + 1; used-- > 0;) {
    const int64_t count = std::popcount(used);
    std::vector<Expression> alternatives;
    if (count >= min_count) alternatives.push_back(ExpressionPool::kEmpty);
    for (size_t i = 0; i < elements.size() && count < max_count; ++i) {
      if (used >> i & 1) continue;
      const Expression text = count == 0 ? elements[i] : pool.Sequence(json.Comma(), elements[i]);
      alternatives.push_back(pool.Sequence(text, after[used | uint32_t{1} << i]));
    }
    after[used] = pool.Choice(alternatives);
  }
  return pool.Sequence({pool.Byte('['), after.front(), pool.Byte(']')});
}

}  // namespace whipsnake::engine
