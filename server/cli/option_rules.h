// How the texts that are given for an option are checked, and read as numbers.
#ifndef WHIPSNAKE_SERVER_CLI_OPTION_RULES_H_
#define WHIPSNAKE_SERVER_CLI_OPTION_RULES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::server {

// What the texts of one option have to be. All errors are INVALID_ARGUMENT and name the text and
// what was expected, but not the option.
struct OptionRules {
  // Checks a text, and may replace it by what it stands for.
  using Step = std::function<absl::Status(std::string& text)>;

  bool may_be_empty = false;     // whether "", often a variable that is not set, is a value
  bool may_be_repeated = false;  // whether there may be several texts
  bool comma_separated = false;  // whether commas separate the values of a text
  std::vector<Step> steps = {};

  // Returns the option's values.
  absl::StatusOr<std::vector<std::string>> Apply(const std::vector<std::string>& texts) const;
};

// Reads a decimal number. NaN and infinity are none. Number is int32_t, int64_t, uint64_t, float or
// double.
template <typename Number>
absl::StatusOr<Number> ReadNumber(const std::string& text);

// Both bounds are included.
OptionRules::Step IntegerFrom(int64_t least, int64_t most);
OptionRules::Step RealFrom(double least, double most);
OptionRules::Step AboveZero();
OptionRules::Step OneOf(std::vector<std::string> choices);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_OPTION_RULES_H_
