// JSON numbers between bounds, as grammars: exactly, digit by digit.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_NUMBER_GRAMMAR_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_NUMBER_GRAMMAR_H_

#include <optional>
#include <string>

#include "engine/structured/expression.h"

namespace whipsnake::engine {

// A bound: a decimal number, sign and digits apart.
struct Decimal {
  bool negative = false;
  std::string whole;     // "0", or without zeros at its front
  std::string fraction;  // without zeros at its end

  bool is_zero() const { return whole == "0" && fraction.empty(); }

  // The shortest decimal that reads as this double, which is finite and below 1e40 in magnitude.
  static Decimal Of(double value);
};

struct NumberRange {
  std::optional<Decimal> least, most;
  bool least_excluded = false, most_excluded = false;
};

// Digits that are written before the point where no bound has more, and after it.
inline constexpr int kMaxWholeDigits = 15;
inline constexpr int kMaxFractionDigits = 15;

// Of integers: without point or exponent. "-0" is not written.
Expression IntegerGrammar(const NumberRange& range, ExpressionPool& pool);
// Of numbers: a fraction may follow, no exponent.
Expression DecimalGrammar(const NumberRange& range, ExpressionPool& pool);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_NUMBER_GRAMMAR_H_
