#include "engine/structured/decimal.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace whipsnake::engine {
namespace {

// The value is 0.digits * 10^point; `digits` has no zeros at either end and is empty for 0.
struct Scientific {
  bool negative = false;
  std::string digits;
  int64_t point = 0;
};

// Exponents beyond this are taken for it. No text of a schema is long enough to tell the
// difference.
constexpr int64_t kMaxExponent = int64_t{1} << 40;

Scientific ParseScientific(std::string_view number) {
  Scientific result;
  result.negative = number.starts_with('-');
  if (result.negative) number.remove_prefix(1);
  const size_t end = std::min(number.find_first_of("eE"), number.size());
  int64_t exponent = 0;
  if (end < number.size()) {
    std::string_view text = number.substr(end + 1);
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    for (const char digit : text) {
      exponent = std::min(exponent * 10 + (digit - '0'), kMaxExponent);
    }
    if (negative) exponent = -exponent;
  }
  const std::string_view mantissa = number.substr(0, end);
  const size_t point = std::min(mantissa.find('.'), mantissa.size());
  result.point = static_cast<int64_t>(point) + exponent;
  for (const char c : mantissa) {
    if (c == '.') continue;
    if (c == '0' && result.digits.empty()) {
      --result.point;
    } else {
      result.digits += c;
    }
  }
  while (result.digits.ends_with('0')) result.digits.pop_back();
  if (result.digits.empty()) result = {};
  return result;
}

}  // namespace

std::optional<Decimal> Decimal::Parse(std::string_view number) {
  const Scientific value = ParseScientific(number);
  const auto count = static_cast<int64_t>(value.digits.size());
  if (value.point > kMaxDigits || count - value.point > kMaxDigits) return std::nullopt;
  Decimal decimal{.negative = value.negative};
  if (value.point <= 0) {
    decimal.fraction = std::string(-value.point, '0') + value.digits;
  } else {
    const int64_t split = std::min(value.point, count);
    decimal.whole = value.digits.substr(0, split) + std::string(value.point - split, '0');
    decimal.fraction = value.digits.substr(split);
  }
  return decimal;
}

std::strong_ordering Compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) {
    return a.negative ? std::strong_ordering::less : std::strong_ordering::greater;
  }
  auto order = a.whole.size() <=> b.whole.size();
  if (order == 0) order = a.whole.compare(b.whole) <=> 0;
  if (order == 0) order = a.fraction.compare(b.fraction) <=> 0;
  return a.negative ? 0 <=> order : order;
}

std::string CanonicalNumber(std::string_view number) {
  const Scientific value = ParseScientific(number);
  if (value.digits.empty()) return "0";
  const int64_t exponent = value.point - static_cast<int64_t>(value.digits.size());
  return absl::StrCat(value.negative ? "-" : "", value.digits, "e", exponent);
}

bool IsWholeNumber(std::string_view number) {
  const Scientific value = ParseScientific(number);
  return value.point >= static_cast<int64_t>(value.digits.size());
}

}  // namespace whipsnake::engine
