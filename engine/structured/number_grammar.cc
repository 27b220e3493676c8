#include "engine/structured/number_grammar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

namespace whipsnake::engine {
namespace {

// A bound on non-negative numbers. A missing std::optional<Bound> means no bound.
struct Bound {
  std::string whole, fraction;
  bool excluded = false;
};

class NumberGrammarBuilder {
 public:
  NumberGrammarBuilder(ExpressionPool& pool, bool fractions) : pool_(pool), fractions_(fractions) {}

  // Numbers from `low` to `high`, both non-negative.
  Expression NonNegative(const Bound& low, const std::optional<Bound>& high) {
    const size_t max_digits =
        high ? high->whole.size() : std::max<size_t>(kMaxWholeDigits, low.whole.size() + 1);
    if (high && high->whole == low.whole) return SameWhole(low, *high);
    std::vector<Expression> parts;
    // The whole part equals low's.
    parts.push_back(pool_.Literal(low.whole, FractionAtLeast(low)));
    // The whole part lies between the two.
    parts.push_back(pool_.Sequence(WholeBetween(low.whole, high, max_digits), AnyFraction()));
    // The whole part equals high's.
    if (high && IsLess(low.whole, high->whole)) {
      parts.push_back(pool_.Literal(high->whole, FractionAtMost(*high)));
    }
    return pool_.Choice(parts);
  }

 private:
  static bool IsLess(std::string_view a, std::string_view b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  }

  Expression Digit(char first, char last) {
    return first > last ? ExpressionPool::kNothing : pool_.Bytes(ByteSet::Range(first, last));
  }
  Expression Digits(int64_t min_digits, int64_t max_digits) {
    return min_digits > max_digits ? ExpressionPool::kNothing
                                   : pool_.Repeat(Digit('0', '9'), min_digits, max_digits);
  }

  // The recursions below take one digit at a time, and bounds have at most some tens of digits.
  // NOLINTBEGIN(misc-no-recursion)

  // --- The whole part: strictly between the digits of `low` and `high` ---------------------------

  Expression WholeBetween(const std::string& low, const std::optional<Bound>& high,
                          size_t max_digits) {
    std::vector<Expression> parts;
    for (size_t digits = low.size(); digits <= max_digits; ++digits) {
      const bool bounded_below = digits == low.size();
      const bool bounded_above = high && digits == high->whole.size();
      if (bounded_below && bounded_above) {
        parts.push_back(Between(low, high->whole));
      } else if (bounded_below) {
        parts.push_back(Above(low));
      } else if (bounded_above) {
        parts.push_back(pool_.Sequence(ExpressionPool::kEmpty, Below(high->whole, /*first=*/true)));
      } else {
        parts.push_back(pool_.Sequence(Digit('1', '9'), Digits(digits - 1, digits - 1)));
      }
    }
    return pool_.Choice(parts);
  }

  // Numbers with as many digits as `low`, strictly greater.
  Expression Above(std::string_view low) {
    if (low.empty()) return ExpressionPool::kNothing;
    const int64_t rest = std::ssize(low) - 1;
    return pool_.Choice(
        {pool_.Sequence(Digit(static_cast<char>(low[0] + 1), '9'), Digits(rest, rest)),
         pool_.Sequence(Digit(low[0], low[0]), Above(low.substr(1)))});
  }

  // Numbers with as many digits as `high`, strictly less. If `first`, the first digit is not 0.
  Expression Below(std::string_view high, bool first) {
    if (high.empty()) return ExpressionPool::kNothing;
    const int64_t rest = std::ssize(high) - 1;
    return pool_.Choice({pool_.Sequence(Digit(first ? '1' : '0', static_cast<char>(high[0] - 1)),
                                        Digits(rest, rest)),
                         pool_.Sequence(Digit(high[0], high[0]), Below(high.substr(1), false))});
  }

  // Numbers with as many digits as both bounds, strictly between them.
  Expression Between(std::string_view low, std::string_view high) {
    if (low.empty()) return ExpressionPool::kNothing;
    const Expression first = Digit(low[0], low[0]);
    if (low[0] == high[0]) {
      return pool_.Sequence(first, Between(low.substr(1), high.substr(1)));
    }
    const int64_t rest = std::ssize(low) - 1;
    return pool_.Choice(
        {pool_.Sequence(first, Above(low.substr(1))),
         pool_.Sequence(Digit(static_cast<char>(low[0] + 1), static_cast<char>(high[0] - 1)),
                        Digits(rest, rest)),
         pool_.Sequence(Digit(high[0], high[0]), Below(high.substr(1), false))});
  }

  // --- The fraction: the point and the digits after it, or nothing -------------------------------

  Expression WithPoint(Expression digits) { return pool_.Sequence(pool_.Byte('.'), digits); }

  Expression AnyFraction() {
    if (!fractions_) return ExpressionPool::kEmpty;
    return pool_.Optional(WithPoint(Digits(1, kMaxFractionDigits)));
  }

  Expression FractionAtLeast(const Bound& low) {
    const bool fraction_optional = low.fraction.empty() && !low.excluded;
    const Expression none = fraction_optional ? ExpressionPool::kEmpty : ExpressionPool::kNothing;
    if (!fractions_) return none;
    return pool_.Choice(
        {none, WithPoint(AtLeast(low.fraction, low.excluded, MaxFractionDigits(low), 1))});
  }

  Expression FractionAtMost(const Bound& high) {
    const bool fraction_optional = !high.fraction.empty() || !high.excluded;
    const Expression none = fraction_optional ? ExpressionPool::kEmpty : ExpressionPool::kNothing;
    if (!fractions_) return none;
    return pool_.Choice(
        {none, WithPoint(AtMost(high.fraction, high.excluded, MaxFractionDigits(high), 1))});
  }

  Expression SameWhole(const Bound& low, const Bound& high) {
    const bool fraction_optional =
        low.fraction.empty() && !low.excluded && (!high.fraction.empty() || !high.excluded);
    const Expression none = fraction_optional ? ExpressionPool::kEmpty : ExpressionPool::kNothing;
    Expression fraction = none;
    if (fractions_) {
      const int64_t max_digits = std::max(MaxFractionDigits(low), MaxFractionDigits(high));
      fraction =
          pool_.Choice({none, WithPoint(FractionBetween(low.fraction, low.excluded, high.fraction,
                                                        high.excluded, max_digits, 1))});
    }
    return pool_.Literal(low.whole, fraction);
  }

  static int64_t MaxFractionDigits(const Bound& bound) {
    return std::max<int64_t>(kMaxFractionDigits, std::ssize(bound.fraction) + 1);
  }

  // Digits of a fraction, from `min_digits` to `max_digits` of them, whose value is at least `low`,
  // or greater if `excluded`. The fraction of a bound has no trailing zeros, so one that is not
  // empty is above 0.
  Expression AtLeast(std::string_view low, bool excluded, int64_t max_digits, int64_t min_digits) {
    if (max_digits < min_digits) return ExpressionPool::kNothing;
    if (low.empty()) {
      if (!excluded) return Digits(min_digits, max_digits);
      if (max_digits < 1) return ExpressionPool::kNothing;
      return pool_.Choice(
          {pool_.Sequence(Digit('1', '9'), Digits(0, max_digits - 1)),
           pool_.Sequence(Digit('0', '0'), AtLeast(low, excluded, max_digits - 1, 0))});
    }
    return pool_.Choice(
        {pool_.Sequence(Digit(static_cast<char>(low[0] + 1), '9'), Digits(0, max_digits - 1)),
         pool_.Sequence(Digit(low[0], low[0]),
                        AtLeast(low.substr(1), excluded, max_digits - 1, 0))});
  }

  // Like AtLeast, for values of at most `high`, or less if `excluded`.
  Expression AtMost(std::string_view high, bool excluded, int64_t max_digits, int64_t min_digits) {
    if (max_digits < min_digits) return ExpressionPool::kNothing;
    if (high.empty()) {
      if (excluded) return ExpressionPool::kNothing;
      return pool_.Repeat(Digit('0', '0'), min_digits, max_digits);
    }
    return pool_.Choice(
        {min_digits == 0 ? ExpressionPool::kEmpty : ExpressionPool::kNothing,
         pool_.Sequence(Digit('0', static_cast<char>(high[0] - 1)), Digits(0, max_digits - 1)),
         pool_.Sequence(Digit(high[0], high[0]),
                        AtMost(high.substr(1), excluded, max_digits - 1, 0))});
  }

  Expression FractionBetween(std::string_view low, bool low_excluded, std::string_view high,
                             bool high_excluded, int64_t max_digits, int64_t min_digits) {
    if (low.empty() && !low_excluded) return AtMost(high, high_excluded, max_digits, min_digits);
    if (high.empty() || max_digits < 1) return ExpressionPool::kNothing;
    const char first = low.empty() ? '0' : low[0];
    const std::string_view low_rest = low.empty() ? low : low.substr(1);
    if (first > high[0]) return ExpressionPool::kNothing;
    if (first == high[0]) {
      return pool_.Sequence(Digit(first, first),
                            FractionBetween(low_rest, low_excluded, high.substr(1), high_excluded,
                                            max_digits - 1, 0));
    }
    return pool_.Choice(
        {pool_.Sequence(Digit(first, first), AtLeast(low_rest, low_excluded, max_digits - 1, 0)),
         pool_.Sequence(Digit(static_cast<char>(first + 1), static_cast<char>(high[0] - 1)),
                        Digits(0, max_digits - 1)),
         pool_.Sequence(Digit(high[0], high[0]),
                        AtMost(high.substr(1), high_excluded, max_digits - 1, 0))});
  }

  // NOLINTEND(misc-no-recursion)

  ExpressionPool& pool_;
  const bool fractions_;
};

Bound BoundOf(const Decimal& decimal, bool excluded) {
  return {decimal.whole, decimal.fraction, excluded};
}

// Whether a < b; ignores `excluded`.
bool IsSmaller(const Bound& a, const Bound& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size();
  if (a.whole != b.whole) return a.whole < b.whole;
  return a.fraction < b.fraction;
}

Expression NonNegativeIfAny(NumberGrammarBuilder& builder, const Bound& low,
                            const std::optional<Bound>& high) {
  if (high && IsSmaller(*high, low)) return ExpressionPool::kNothing;
  return builder.NonNegative(low, high);
}

// Combines the negative numbers, whose magnitudes run from that of the maximum to that of the
// minimum, and the others.
Expression Grammar(const NumberRange& range, bool fractions, ExpressionPool& pool) {
  NumberGrammarBuilder builder(pool, fractions);
  const Bound zero{"0", "", false};
  const bool max_negative = range.max && range.max->negative;
  const bool min_negative = !range.min || range.min->negative;
  std::vector<Expression> parts;
  if (min_negative) {
    const Bound low =
        max_negative ? BoundOf(*range.max, range.max_excluded) : Bound{"0", "", /*excluded=*/true};
    std::optional<Bound> high;
    if (range.min) high = BoundOf(*range.min, range.min_excluded);
    parts.push_back(pool.Sequence(pool.Byte('-'), NonNegativeIfAny(builder, low, high)));
  }
  if (!max_negative) {
    const Bound low = min_negative ? zero : BoundOf(*range.min, range.min_excluded);
    std::optional<Bound> high;
    if (range.max) high = BoundOf(*range.max, range.max_excluded);
    parts.push_back(NonNegativeIfAny(builder, low, high));
  }
  return pool.Choice(parts);
}

}  // namespace

Decimal Decimal::Of(double value) {
  std::array<char, 128> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), std::abs(value),
                                 std::chars_format::fixed);
  const std::string_view text(digits.data(), end.ptr - digits.data());
  const size_t point = std::min(text.find('.'), text.size());
  Decimal decimal{.negative = value < 0,
                  .whole = std::string(text.substr(0, point)),
                  .fraction = std::string(text.substr(std::min(point + 1, text.size())))};
  while (decimal.fraction.ends_with('0')) decimal.fraction.pop_back();
  return decimal;
}

Expression IntegerGrammar(const NumberRange& range, ExpressionPool& pool) {
  return Grammar(range, /*fractions=*/false, pool);
}

Expression DecimalGrammar(const NumberRange& range, ExpressionPool& pool) {
  return Grammar(range, /*fractions=*/true, pool);
}

}  // namespace whipsnake::engine
