// Numbers as people read them, in UTF-8.
#ifndef WHIPSNAKE_ENGINE_BASE_HUMAN_H_
#define WHIPSNAKE_ENGINE_BASE_HUMAN_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

std::string HumanCount(int64_t count);     // "1,605"
std::string HumanMagnitude(double count);  // three or four digits: "4.6 M", "128 k", "9,500"
// With so many significant digits: "0.7142", "12,346", "5×10⁻⁵", "∞", "NaN". ASCII from 0.001 to
// 999,999,999.
std::string HumanNumber(double value, int digits = 4);
std::string HumanBytes(int64_t bytes);  // "1.2 GiB"
// Reads a number of bytes with or without a unit, in letters of either case: "2GB", "1.5 GiB",
// "1000000". KB, MB, GB and TB are powers of 1000, KiB, MiB, GiB and TiB are powers of 1024.
// Returns INVALID_ARGUMENT, naming the field.
absl::StatusOr<int64_t> ParseBytes(std::string_view field, std::string_view text);
// Reads seconds, or a duration with a unit: "25", "500ms", "25s", "10min", "1.5h". Returns
// INVALID_ARGUMENT, naming the field. The result is not negative and below 1e9.
absl::StatusOr<double> ParseSeconds(std::string_view field, std::string_view text);
std::string HumanDuration(double seconds);    // "4 min 12 s", "85 ms", "840 us"
std::string HumanTime(int64_t unix_seconds);  // "26 November 2026, 16:43 UTC"
std::string HumanPower(int exponent);         // "10⁻⁵"
std::string TimeStamp(int64_t unix_seconds);  // for programs: "2026-11-26T16:43:27Z"
std::string Grouped(std::string digits);      // "12345.678" to "12,345.678"

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_HUMAN_H_
