// Grammars of JSON numbers between bounds, which hold exactly, digit by digit.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_NUMBER_GRAMMAR_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_NUMBER_GRAMMAR_H_

#include <optional>
#include <string>

#include "engine/structured/expression.h"

namespace whipsnake::engine {

// A bound: a decimal number, as its sign, whole part and fraction.
struct Decimal {
  bool negative = false;
  std::string whole;     // "0", or without leading zeros
  std::string fraction;  // without trailing zeros

  bool is_zero() const { return whole == "0" && fraction.empty(); }

  // The shortest decimal that reads as this double, which must be finite and below 1e40 in
  // magnitude.
  static Decimal Of(double value);
};

struct NumberRange {
  std::optional<Decimal> min, max;
  bool min_excluded = false, max_excluded = false;
};

// The maximum number of digits before and after the point, unless a bound has more.
inline constexpr int kMaxWholeDigits = 15;
inline constexpr int kMaxFractionDigits = 15;

// Integers, without point or exponent. "-0" is not generated.
Expression IntegerGrammar(const NumberRange& range, ExpressionPool& pool);
// Numbers, with an optional fraction but no exponent.
Expression DecimalGrammar(const NumberRange& range, ExpressionPool& pool);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_NUMBER_GRAMMAR_H_
