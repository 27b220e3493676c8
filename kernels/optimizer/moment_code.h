// The values of 8-bit codes of moments: the dynamic tree data type (Dettmers, arXiv 1511.04561; for
// v without a sign, arXiv 2110.02861, section 2.2).
//
// A code for m is a sign, bit 7, and a magnitude of B = 7 bits. A code for v is a magnitude of B =
// 8 bits. A magnitude other than 0 is a number of zeros, a one, and e bits that hold a fraction f:
//
//   value = 10^(e - B + 1) · (0.1 + 0.9 · (f + 1) / 2^e)
//
// Each leading zero divides the value by ten, and the fraction divides the decade into 2^e equal
// steps. The papers leave open which number of its step is the value. Here it is the upper end, so
// that the largest magnitude is exactly 1. Code 0 is 0, and values ascend with their magnitudes,
// from 1e-6 for m and 1e-7 for v.
#ifndef WHIPSNAKE_KERNELS_OPTIMIZER_MOMENT_CODE_H_
#define WHIPSNAKE_KERNELS_OPTIMIZER_MOMENT_CODE_H_

#include <array>
#include <bit>
#include <cstdint>

namespace whipsnake::kernels::moment_code {

// The bits B of a magnitude.
inline constexpr int kSignedBits = 7, kUnsignedBits = 8;
inline constexpr uint8_t kSign = 0x80;

// 10^-n.
constexpr double PowerOfTenth(int n) {
  double power = 1;
  for (; n > 0; --n) power *= 10;
  return 1 / power;
}

constexpr double ValueOfMagnitude(unsigned magnitude, int bits) {
  if (magnitude == 0) return 0;
  const int e = std::bit_width(magnitude) - 1;
  const double steps = 1u << e;
  return PowerOfTenth(bits - 1 - e) * (0.1 + 0.9 * (magnitude + 1 - steps) / steps);
}

constexpr std::array<float, 256> Values(bool is_signed) {
  std::array<float, 256> values{};
  for (unsigned code = 0; code < 256; ++code) {
    const bool negative = is_signed && (code & kSign) != 0;
    const double value = is_signed ? ValueOfMagnitude(code & ~unsigned{kSign}, kSignedBits)
                                   : ValueOfMagnitude(code, kUnsignedBits);
    values[code] = static_cast<float>(negative ? -value : value);
  }
  return values;
}
inline constexpr std::array<float, 256> kSignedValues = Values(true);
inline constexpr std::array<float, 256> kUnsignedValues = Values(false);

// The magnitude, as a function of its value, consists of lines: one from 0 to the magnitude 1, and
// one for each decade above. They get flatter, so the function is their minimum.
struct Line {
  float slope = 0, intercept = 0;
};
template <int bits>
constexpr std::array<Line, bits> Lines() {
  std::array<Line, bits> lines;
  for (int e = 0; e < bits; ++e) {
    const unsigned low = (1u << e) - 1, high = (2u << e) - 1;
    const double low_value = ValueOfMagnitude(low, bits);
    const double slope = (high - low) / (ValueOfMagnitude(high, bits) - low_value);
    lines[e] = {static_cast<float>(slope), static_cast<float>(low - slope * low_value)};
  }
  return lines;
}

}  // namespace whipsnake::kernels::moment_code

#endif  // WHIPSNAKE_KERNELS_OPTIMIZER_MOMENT_CODE_H_
