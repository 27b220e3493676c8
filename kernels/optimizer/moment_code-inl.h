// Decodes and encodes one block of 8-bit moments, for kernels that inline it.
#include <array>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/optimizer/moment_code.h"
#include "kernels/optimizer/optimizer.h"

#if defined(WHIPSNAKE_KERNELS_OPTIMIZER_MOMENT_CODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WHIPSNAKE_KERNELS_OPTIMIZER_MOMENT_CODE_INL_H_
#undef WHIPSNAKE_KERNELS_OPTIMIZER_MOMENT_CODE_INL_H_
#else
#define WHIPSNAKE_KERNELS_OPTIMIZER_MOMENT_CODE_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

using Ints = hn::RebindToSigned<Floats>;
using Bytes = hn::Rebind<uint8_t, Floats>;
using ByteVec = hn::Vec<Bytes>;

HWY_INLINE ByteVec LoadBytes(FullVector, const uint8_t* from) { return hn::LoadU(Bytes(), from); }
HWY_INLINE ByteVec LoadBytes(PartOfVector part, const uint8_t* from) {
  HWY_ALIGN uint8_t lanes[hn::MaxLanes(Bytes())] = {};
  std::memcpy(lanes, from, part.count);
  return hn::Load(Bytes(), lanes);
}
HWY_INLINE void StoreBytes(FullVector, ByteVec v, uint8_t* to) { hn::StoreU(v, Bytes(), to); }
HWY_INLINE void StoreBytes(PartOfVector part, ByteVec v, uint8_t* to) {
  HWY_ALIGN uint8_t lanes[hn::MaxLanes(Bytes())];
  hn::Store(v, Bytes(), lanes);
  std::memcpy(to, lanes, part.count);
}

// Returns the magnitudes whose values are nearest to x, which is in [0,1].
template <int bits>
HWY_INLINE hn::Vec<Ints> NearestMagnitude(FloatVec x) {
  static constexpr std::array<moment_code::Line, bits> kLines = moment_code::Lines<bits>();
  FloatVec magnitude = hn::Set(Floats(), float{(1u << bits) - 1});
  for (const moment_code::Line& line : kLines) {
    magnitude = hn::Min(
        magnitude, hn::MulAdd(hn::Set(Floats(), line.slope), x, hn::Set(Floats(), line.intercept)));
  }
  return hn::NearestInt(magnitude);
}

// The two codes: the values, and the codes nearest to x · inverse.
struct SignedCode {
  static const float* Values() { return moment_code::kSignedValues.data(); }
  static HWY_INLINE hn::Vec<Ints> Nearest(FloatVec x, FloatVec inverse) {
    const auto magnitude = NearestMagnitude<moment_code::kSignedBits>(hn::Abs(hn::Mul(x, inverse)));
    const auto sign = hn::ShiftRight<24>(hn::BitCast(Ints(), x));
    return hn::Or(magnitude, hn::And(sign, hn::Set(Ints(), moment_code::kSign)));
  }
};
struct UnsignedCode {
  static const float* Values() { return moment_code::kUnsignedValues.data(); }
  // Returns at least 1 for x above 0, even if the product is 0.
  static HWY_INLINE hn::Vec<Ints> Nearest(FloatVec x, FloatVec inverse) {
    const auto magnitude = NearestMagnitude<moment_code::kUnsignedBits>(hn::Mul(x, inverse));
    const auto positive = hn::VecFromMask(Floats(), hn::Gt(x, hn::Zero(Floats())));
    return hn::Max(magnitude, hn::And(hn::BitCast(Ints(), positive), hn::Set(Ints(), 1)));
  }
};

// x[i] = the value of codes[i] · scale.
template <typename Code>
HWY_INLINE void DecodeMoments(const uint8_t* codes, int64_t n, float scale, float* x) {
  const FloatVec factor = hn::Set(Floats(), scale);
  ForEachVector(0, n, [=](int64_t i, auto part) HWY_ATTR {
    const auto code = hn::PromoteTo(Ints(), LoadBytes(part, codes + i));
    part.Store(hn::Mul(hn::GatherIndex(Floats(), Code::Values(), code), factor), x + i);
  });
}

// Returns the scale of x[n]. As an integer, the magnitude of NaN is above that of any number.
HWY_INLINE float MomentScale(const float* x, int64_t n) {
  auto largest = hn::BitCast(Ints(), hn::Set(Floats(), kMinMomentScale));
  ForEachVector(0, n, [&](int64_t i, auto part) HWY_ATTR {
    largest = hn::Max(largest, hn::BitCast(Ints(), hn::Abs(part.Load(x + i))));
  });
  return hn::GetLane(hn::BitCast(Floats(), hn::MaxOfLanes(Ints(), largest)));
}

// Writes the codes of x[n] and returns their scale.
template <typename Code>
HWY_INLINE float EncodeMoments(const float* x, int64_t n, uint8_t* codes) {
  const float scale = MomentScale(x, n);
  const FloatVec inverse = hn::Set(Floats(), 1 / scale);
  ForEachVector(0, n, [=](int64_t i, auto part) HWY_ATTR {
    const auto code = Code::Nearest(part.Load(x + i), inverse);
    const auto low_byte = hn::BitCast(hn::RebindToUnsigned<Floats>(), code);
    StoreBytes(part, hn::TruncateTo(Bytes(), low_byte), codes + i);
  });
  return scale;
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
