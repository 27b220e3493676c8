#include "engine/base/human.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// A number with so many significant digits and without zeros at the end.
std::string Significant(double value, int digits) { return absl::StrFormat("%.*g", digits, value); }

std::tm UtcTime(int64_t unix_seconds) {
  const auto time = static_cast<std::time_t>(unix_seconds);
  std::tm parts{};
  gmtime_r(&time, &parts);
  return parts;
}

}  // namespace

std::string Grouped(std::string digits) {
  const size_t first = digits.find_first_of("0123456789");
  if (first == digits.npos) return digits;
  const size_t end = std::min(digits.find_first_not_of("0123456789", first), digits.size());
  for (size_t i = end; i > first + 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

std::string HumanCount(int64_t count) { return Grouped(absl::StrCat(count)); }

std::string HumanMagnitude(double count) {
  constexpr std::array kUnits = {" k", " M", " G", " T"};
  const double size = std::abs(count);
  if (size < 999.5) return Significant(count, 3);
  if (size < 9999.5) return Grouped(absl::StrFormat("%.0f", count));
  size_t unit = 0;
  for (count /= 1000; std::abs(count) >= 999.5 && unit + 1 < kUnits.size(); ++unit) count /= 1000;
  return absl::StrCat(Significant(count, 3), kUnits[unit]);
}

std::string HumanPower(int exponent) {
  constexpr std::array kSuperscripts = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string power = exponent < 0 ? "10⁻" : "10";
  for (const char digit : absl::StrCat(std::abs(exponent))) {
    absl::StrAppend(&power, kSuperscripts[digit - '0']);
  }
  return power;
}

std::string HumanNumber(double value, int digits) {
  if (std::isnan(value)) return "NaN";
  if (value < 0) return absl::StrCat("−", HumanNumber(-value, digits));
  if (std::isinf(value)) return "∞";
  if (value == 0) return "0";
  if (value >= 1e-3 && value < std::pow(10, digits) - 0.5)
    return Grouped(Significant(value, digits));
  if (value >= 1 && value < 1e9) return Grouped(absl::StrFormat("%.0f", value));
  const std::string scientific = absl::StrFormat("%.*e", digits - 1, value);
  const size_t e = scientific.find('e');
  const std::string mantissa = Significant(std::stod(scientific.substr(0, e)), digits);
  return absl::StrCat(mantissa, "×", HumanPower(std::stoi(scientific.substr(e + 1))));
}

std::string HumanBytes(int64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.*f %s", unit == 0 ? 0 : 1, value, kUnits[unit]);
}

absl::StatusOr<int64_t> ParseBytes(std::string_view field, std::string_view text) {
  struct Unit {
    std::string_view name;
    double bytes;
  };
  constexpr Unit kUnits[] = {{"", 1},
                             {"b", 1},
                             {"kb", 1e3},
                             {"mb", 1e6},
                             {"gb", 1e9},
                             {"tb", 1e12},
                             {"kib", int64_t{1} << 10},
                             {"mib", int64_t{1} << 20},
                             {"gib", int64_t{1} << 30},
                             {"tib", int64_t{1} << 40}};
  const size_t end = std::min(text.find_first_not_of("0123456789.e+"), text.size());
  const std::string name =
      absl::AsciiStrToLower(absl::StripAsciiWhitespace(ToAbsl(text.substr(end))));
  const auto* const unit = std::ranges::find(kUnits, name, &Unit::name);
  double number = 0;
  const bool is_number = absl::SimpleAtod(ToAbsl(text.substr(0, end)), &number);
  if (is_number && unit != std::end(kUnits)) {
    const double bytes = number * unit->bytes;
    if (bytes >= 1 && bytes < 1e18) return static_cast<int64_t>(bytes);
  }
  return InvalidField(field, Quoted(text),
                      "a number of bytes such as 2GB, 1.5GiB, 800MB or 1000000");
}

absl::StatusOr<double> ParseSeconds(std::string_view field, std::string_view text) {
  struct Unit {
    std::string_view name;
    double seconds;
  };
  constexpr Unit kUnits[] = {{"", 1},     {"ms", 1e-3}, {"s", 1},    {"sec", 1},
                             {"min", 60}, {"m", 60},    {"h", 3600}, {"d", 86400}};
  const size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::string name(absl::StripAsciiWhitespace(ToAbsl(text.substr(end))));
  const auto* const unit = std::ranges::find(kUnits, name, &Unit::name);
  double number = 0;
  if (absl::SimpleAtod(ToAbsl(text.substr(0, end)), &number) && unit != std::end(kUnits)) {
    if (const double seconds = number * unit->seconds; seconds < 1e9) return seconds;
  }
  return InvalidField(field, Quoted(text), "a duration such as 25, 25s, 500ms, 10min or 1h");
}

std::string HumanDuration(double seconds) {
  if (!std::isfinite(seconds)) return HumanNumber(seconds);
  if (seconds < 0.9995e-3) return absl::StrCat(Significant(seconds * 1e6, 3), " us");
  if (seconds < 0.9995) return absl::StrCat(Significant(seconds * 1e3, 3), " ms");
  if (seconds < 59.95) return absl::StrCat(Significant(seconds, 3), " s");
  if (seconds > 1e12) return absl::StrCat(HumanNumber(seconds), " s");
  const int64_t whole = std::llround(seconds);
  if (whole < 3600) return absl::StrFormat("%d min %d s", whole / 60, whole % 60);
  if (whole < 86400) return absl::StrFormat("%d h %d min", whole / 3600, whole / 60 % 60);
  return absl::StrFormat("%s d %d h", HumanCount(whole / 86400), whole / 3600 % 24);
}

std::string HumanTime(int64_t unix_seconds) {
  constexpr std::array kMonths = {"January",   "February", "March",    "April",
                                  "May",       "June",     "July",     "August",
                                  "September", "October",  "November", "December"};
  const std::tm time = UtcTime(unix_seconds);
  return absl::StrFormat("%d %s %d, %02d:%02d UTC", time.tm_mday, kMonths[time.tm_mon],
                         time.tm_year + 1900, time.tm_hour, time.tm_min);
}

std::string TimeStamp(int64_t unix_seconds) {
  const std::tm time = UtcTime(unix_seconds);
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02dZ", time.tm_year + 1900, time.tm_mon + 1,
                         time.tm_mday, time.tm_hour, time.tm_min, time.tm_sec);
}

}  // namespace whipsnake::engine
