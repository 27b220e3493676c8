// The 8-bit codes of moments: the dynamic tree data type (Dettmers, arXiv 1511.04561) and, for v,
// which has no sign, its extension (Dettmers et al., arXiv 2110.02861, section 2.2).
//
// A code for m is a sign, bit 7, and a magnitude of B = 7 bits; a code for v is a magnitude of
// B = 8 bits. The magnitude 0 has the value 0. Any other consists of zeros, a one, and e bits that
// hold a fraction f, and has the value
//
//   10^(e - B + 1) · (0.1 + 0.9 · (f + 1) / 2^e)
//
// Each zero in front divides the value by ten, and the fraction divides the decade into 2^e equal
// steps. The papers leave open which number of a step is its value. Here it is the upper end, so
// that the largest magnitude has the value 1 exactly. Values ascend with their magnitudes; the
// smallest above 0 is 1e-6 for m and 1e-7 for v.
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

constexpr double ValueOfSigned(unsigned code) {
  const double value = ValueOfMagnitude(code % kSign, kSignedBits);
  return code < kSign ? value : -value;
}

constexpr std::array<float, 256> Values(bool is_signed) {
  std::array<float, 256> values{};
  for (unsigned code = 0; code < 256; ++code) {
    const double value = is_signed ? ValueOfSigned(code) : ValueOfMagnitude(code, kUnsignedBits);
    values[code] = static_cast<float>(value);
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
