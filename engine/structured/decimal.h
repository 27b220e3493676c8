// Decimal numbers as a JSON text spells them, to any number of digits.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_DECIMAL_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_DECIMAL_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace whipsnake::engine {

// A decimal number as its sign, whole part and fraction. Zero has no sign.
struct Decimal {
  // The most digits on either side of the point, enough for any double.
  static constexpr int64_t kMaxDigits = 400;

  bool negative = false;
  std::string whole = "0";  // without leading zeros, except "0" itself
  std::string fraction{};   // without trailing zeros

  // Reads a JSON number. Returns nullopt if it has more than kMaxDigits digits before or after the
  // point when it is written without an exponent.
  static std::optional<Decimal> Parse(std::string_view number);

  bool is_zero() const { return whole == "0" && fraction.empty(); }
  bool is_whole() const { return fraction.empty(); }

  bool operator==(const Decimal&) const = default;
};

std::strong_ordering Compare(const Decimal& a, const Decimal& b);

// Returns the JSON number in a form that is the same for all spellings of its value, however large
// its exponent is: "12e-1" for 1.2, 1.20 and 12e-1.
std::string CanonicalNumber(std::string_view number);

// Whether the value of a JSON number is an integer.
bool IsWholeNumber(std::string_view number);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_DECIMAL_H_
