#include "engine/structured/number_grammar.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

#include "engine/structured/machine.h"
#include "engine/structured/multiple_machine.h"

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
    parts.push_back(WholeBetween(low.whole, high, max_digits));
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

  // Such a whole part and any fraction.
  Expression WholeBetween(const std::string& low, const std::optional<Bound>& high,
                          size_t max_digits) {
    std::vector<Expression> parts;
    for (size_t digits = low.size(); digits <= max_digits; ++digits) {
      const bool bounded_below = digits == low.size();
      const bool bounded_above = high && digits == high->whole.size();
      Expression whole = ExpressionPool::kNothing;
      if (bounded_below && bounded_above) {
        whole = Between(low, high->whole);
      } else if (bounded_below) {
        whole = Above(low);
      } else if (bounded_above) {
        whole = Below(high->whole, /*first=*/true);
      } else {
        whole = pool_.Sequence(Digit('1', '9'), Digits(digits - 1, digits - 1));
      }
      parts.push_back(pool_.Sequence(whole, AnyFraction(static_cast<int64_t>(digits))));
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

  // After a whole part of this many digits, which is not 0.
  Expression AnyFraction(int64_t whole_digits) {
    const int64_t max_digits = kMaxFractionDigits - whole_digits;
    if (!fractions_ || max_digits < 1) return ExpressionPool::kEmpty;
    return pool_.Optional(WithPoint(Digits(1, max_digits)));
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
    const int64_t whole_digits = bound.whole == "0" ? 0 : std::ssize(bound.whole);
    return std::max(kMaxFractionDigits - whole_digits, std::ssize(bound.fraction));
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

// A bound that lies outside of all numbers with the digits that are generated is none: those have
// at most one digit more than the other bound.
std::optional<Decimal> WithinDigits(const std::optional<Decimal>& bound,
                                    const std::optional<Decimal>& other, bool is_max) {
  constexpr size_t kManyDigits = 40;
  const size_t digits = std::max(kManyDigits, other ? other->whole.size() + 1 : 0);
  const bool outward = bound && bound->negative != is_max && bound->whole.size() > digits;
  return outward ? std::nullopt : bound;
}

// The largest finite double, or its negative: beyond it, a reader of JSON may have no number. It is
// the bound of a range that has none and could reach it, unless the other bound is beyond it too.
std::optional<Decimal> LargestDouble(const std::optional<Decimal>& other, bool negative) {
  constexpr double kLargest = std::numeric_limits<double>::max();
  Decimal largest = *Decimal::Parse(std::to_string(kLargest));
  largest.negative = negative;
  if (!other || other->negative != negative) return std::nullopt;
  const bool may_reach = other->whole.size() + 1 >= largest.whole.size();
  const auto order = Compare(*other, largest);
  const bool is_beyond = negative ? order < 0 : order > 0;
  return may_reach && !is_beyond ? std::optional(largest) : std::nullopt;
}

// Combines the negative numbers, whose magnitudes run from that of the maximum to that of the
// minimum, and the others.
Expression RangeGrammar(const NumberRange& range, bool fractions, ExpressionPool& pool) {
  NumberGrammarBuilder builder(pool, fractions);
  std::optional<Decimal> min = WithinDigits(range.min, range.max, /*is_max=*/false);
  std::optional<Decimal> max = WithinDigits(range.max, range.min, /*is_max=*/true);
  if (!max) max = LargestDouble(min, /*negative=*/false);
  if (!min) min = LargestDouble(max, /*negative=*/true);
  const Bound zero{"0", "", false};
  const bool max_negative = max && max->negative;
  const bool min_negative = !min || min->negative;
  std::vector<Expression> parts;
  if (min_negative) {
    const Bound low =
        max_negative ? BoundOf(*max, range.max_excluded) : Bound{"0", "", /*excluded=*/true};
    std::optional<Bound> high;
    if (min) high = BoundOf(*min, range.min_excluded);
    parts.push_back(pool.Sequence(pool.Byte('-'), NonNegativeIfAny(builder, low, high)));
  }
  if (!max_negative) {
    const Bound low = min_negative ? zero : BoundOf(*min, range.min_excluded);
    std::optional<Bound> high;
    if (max) high = BoundOf(*max, range.max_excluded);
    parts.push_back(NonNegativeIfAny(builder, low, high));
  }
  return pool.Choice(parts);
}

// The characters of the numbers above.
constexpr std::string_view kNumberBytes = "-.0123456789";

std::optional<Expression> NumberGrammar(const NumberRange& range, bool fractions,
                                        ExpressionPool& pool) {
  if (range.steps.empty()) return RangeGrammar(range, fractions, pool);
  ExpressionPool range_pool;
  const Expression root = RangeGrammar(range, fractions, range_pool);
  if (range_pool.overflowed() || !pool.Spend(range_pool.work_spent())) return std::nullopt;
  range_pool.FindLengths(ByteSet::Of(kNumberBytes));
  Machines machines;
  machines.push_back(std::make_unique<ExpressionMachine>(range_pool, root, /*complement=*/false));
  for (const Decimal& step : range.steps) {
    machines.push_back(std::make_unique<MultipleMachine>(step));
    if (!pool.Spend(machines.back()->work())) return std::nullopt;
  }
  const std::vector<uint8_t> symbols(kNumberBytes.begin(), kNumberBytes.end());
  const auto product = Explore(machines, symbols, pool);
  if (!product) return std::nullopt;
  const auto encode = [&](const ByteSet& bytes) { return pool.Bytes(bytes); };
  return ToExpression(*product, encode, pool);
}

}  // namespace

void NumberRange::RaiseMin(const Decimal& bound, bool excluded) {
  const auto order = min ? Compare(bound, *min) : std::strong_ordering::greater;
  if (order > 0) min = bound, min_excluded = excluded;
  if (order == 0) min_excluded = min_excluded || excluded;
}

void NumberRange::LowerMax(const Decimal& bound, bool excluded) {
  const auto order = max ? Compare(bound, *max) : std::strong_ordering::less;
  if (order < 0) max = bound, max_excluded = excluded;
  if (order == 0) max_excluded = max_excluded || excluded;
}

bool NumberRange::Contains(const Decimal& number) const {
  if (min) {
    const auto order = Compare(number, *min);
    if (order < 0 || (order == 0 && min_excluded)) return false;
  }
  if (max) {
    const auto order = Compare(number, *max);
    if (order > 0 || (order == 0 && max_excluded)) return false;
  }
  return std::ranges::all_of(steps, [&](const Decimal& step) { return IsMultiple(number, step); });
}

bool SupportsStep(const Decimal& step) { return MultipleMachine::Supports(step); }

std::optional<Expression> IntegerGrammar(const NumberRange& range, ExpressionPool& pool) {
  return NumberGrammar(range, /*fractions=*/false, pool);
}

std::optional<Expression> DecimalGrammar(const NumberRange& range, ExpressionPool& pool) {
  return NumberGrammar(range, /*fractions=*/true, pool);
}

}  // namespace whipsnake::engine
