#include "server/cli/option_rules.h"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "server/suggestion.h"

namespace whipsnake::server {
namespace {

absl::Status Unexpected(std::string_view text, std::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(engine::Quoted(text), " seen, expected ", engine::ToAbsl(expected)));
}

// Whether the text has the form of an integer, of any size.
bool IsInteger(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

template <std::integral Number>
bool Parses(const std::string& text, Number& number) {
  return absl::SimpleAtoi(text, &number);
}

// absl reads hexadecimal numbers too.
bool IsDecimal(const std::string& text) { return text.find_first_of("xX") == std::string::npos; }

bool Parses(const std::string& text, float& number) {
  return IsDecimal(text) && absl::SimpleAtof(text, &number);
}

bool Parses(const std::string& text, double& number) {
  return IsDecimal(text) && absl::SimpleAtod(text, &number);
}

template <typename Number>
OptionRules::Step InRange(std::function<bool(Number)> includes, std::string expected) {
  return [includes = std::move(includes), expected = std::move(expected)](std::string& text) {
    Number number = 0;
    return Parses(text, number) && includes(number) ? absl::OkStatus() : Unexpected(text, expected);
  };
}

}  // namespace

absl::StatusOr<std::vector<std::string>> OptionRules::Apply(
    const std::vector<std::string>& texts) const {
  if (texts.size() > 1 && !may_be_repeated) {
    return absl::InvalidArgumentError(
        absl::StrCat("given ", texts.size(), " times, expected once"));
  }
  std::vector<std::string> values;
  for (const std::string& text : texts) {
    if (text.empty() && !may_be_empty) return Unexpected(text, "a text that is not empty");
    std::vector<std::string> parts = {text};
    if (comma_separated) parts = absl::StrSplit(text, ',');
    for (std::string& part : parts) {
      if (part.empty() && comma_separated) {
        return Unexpected(text, "a value before and after each comma");
      }
      for (const Step& step : steps) RETURN_IF_ERROR(step(part));
      values.push_back(std::move(part));
    }
  }
  return values;
}

template <typename Number>
absl::StatusOr<Number> ReadNumber(const std::string& text) {
  Number number = 0;
  if constexpr (std::integral<Number>) {
    if (Parses(text, number)) return number;
    if (!IsInteger(text)) return Unexpected(text, "an integer");
    return Unexpected(text, absl::StrCat("an integer from ", std::numeric_limits<Number>::min(),
                                         " to ", std::numeric_limits<Number>::max()));
  } else {
    if (Parses(text, number) && std::isfinite(number)) return number;
    return Unexpected(text, "a number");
  }
}

template absl::StatusOr<int32_t> ReadNumber(const std::string&);
template absl::StatusOr<int64_t> ReadNumber(const std::string&);
template absl::StatusOr<uint64_t> ReadNumber(const std::string&);
template absl::StatusOr<float> ReadNumber(const std::string&);
template absl::StatusOr<double> ReadNumber(const std::string&);

OptionRules::Step IntegerFrom(int64_t least, int64_t most) {
  return InRange<int64_t>([=](int64_t number) { return number >= least && number <= most; },
                          absl::StrCat("an integer from ", least, " to ", most));
}

// No comparison with NaN is true.
OptionRules::Step RealFrom(double least, double most) {
  return InRange<double>([=](double number) { return number >= least && number <= most; },
                         absl::StrCat("a number from ", least, " to ", most));
}

OptionRules::Step AboveZero() {
  return InRange<double>([](double number) { return number > 0 && std::isfinite(number); },
                         "a number above 0");
}

OptionRules::Step OneOf(std::vector<std::string> choices) {
  return [choices = std::move(choices)](std::string& text) {
    if (std::ranges::find(choices, text) != choices.end()) return absl::OkStatus();
    const std::string nearest = NearestWord(text, choices);
    return Unexpected(
        text, absl::StrCat("one of ", absl::StrJoin(choices, ", "),
                           nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?")));
  };
}

}  // namespace whipsnake::server
