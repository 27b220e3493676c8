// Element types of weights, activations and states, and the conversions between them.
#ifndef WHIPSNAKE_KERNELS_DTYPE_H_
#define WHIPSNAKE_KERNELS_DTYPE_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace whipsnake::kernels {

// kI8 holds the codes of a quantized tensor: value = code · scale, where the scale is stored
// separately.
enum class DType : uint8_t { kF32, kF16, kBF16, kI8 };

constexpr int64_t ByteSize(DType dtype) {
  return dtype == DType::kF32 ? 4 : dtype == DType::kI8 ? 1 : 2;
}

// Returns the safetensors name: "F32", "F16", "BF16" or "I8".
constexpr std::string_view Name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kI8:
      return "I8";
  }
  return "?";
}

inline float FromBF16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// Rounds half to even. NaN stays NaN.
inline uint16_t ToBF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Converts IEEE 754 binary16, including subnormals.
inline float FromF16(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0x1fu) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float subnormal = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -subnormal : subnormal;
}

// Returns the code of `value`, which is in units of the scale: rounded half to even and saturated
// to [-128, 127]; 0 for NaN. Every kernel that writes codes computes the same, bit for bit.
inline int8_t ToCode(float value) {
  if (!(value > -128.0f)) return value <= -128.0f ? -128 : 0;
  if (value >= 127.0f) return 127;
  return static_cast<int8_t>(std::nearbyint(value));
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_DTYPE_H_
