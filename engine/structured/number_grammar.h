// Grammars of JSON numbers between bounds, which hold exactly, digit by digit.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_NUMBER_GRAMMAR_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_NUMBER_GRAMMAR_H_

#include <optional>
#include <vector>

#include "engine/structured/decimal.h"
#include "engine/structured/expression.h"

namespace whipsnake::engine {

// The numbers that satisfy all of this.
struct NumberRange {
  std::optional<Decimal> min, max;
  bool min_excluded = false, max_excluded = false;
  std::vector<Decimal> steps;  // of which the number is a multiple: positive, SupportsStep

  void RaiseMin(const Decimal& bound, bool excluded);
  void LowerMax(const Decimal& bound, bool excluded);

  bool Contains(const Decimal& number) const;
};

// The most digits before the point, unless a bound has more, and of a number with a fraction
// altogether, unless a bound has more. A double tells all of these apart, so that a validator that
// compares doubles agrees.
inline constexpr int kMaxWholeDigits = 15;
inline constexpr int kMaxFractionDigits = 15;

// Whether multiples of this step can be generated: its digits are a number of moderate size.
bool SupportsStep(const Decimal& step);

// Integers, without point or exponent. "-0" is not generated. Returns nullopt if the steps and
// bounds need too many states together.
std::optional<Expression> IntegerGrammar(const NumberRange& range, ExpressionPool& pool);
// Numbers, with an optional fraction but no exponent.
std::optional<Expression> DecimalGrammar(const NumberRange& range, ExpressionPool& pool);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_NUMBER_GRAMMAR_H_
