// Quantizes one row, for kernels that inline it.
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

#if defined(WHIPSNAKE_KERNELS_ROW_QUANTIZATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WHIPSNAKE_KERNELS_ROW_QUANTIZATION_INL_H_
#undef WHIPSNAKE_KERNELS_ROW_QUANTIZATION_INL_H_
#else
#define WHIPSNAKE_KERNELS_ROW_QUANTIZATION_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

// Returns the largest magnitude of x[n]; NaN counts as 0.
HWY_INLINE float AbsMax(const float* x, int64_t n) {
  FloatVec largest = hn::Zero(Floats());
  ForEachVector(0, n, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVec magnitude = hn::Abs(part.Load(x + i));
    largest = hn::Max(largest, hn::IfThenElseZero(hn::Eq(magnitude, magnitude), magnitude));
  });
  return hn::GetLane(hn::MaxOfLanes(Floats(), largest));
}

HWY_INLINE void WriteCodes(const float* x, int64_t n, float inverse_scale, int8_t* y) {
  const FloatVec inverse = hn::Set(Floats(), inverse_scale);
  ForEachVector(0, n, [=](int64_t i, auto part) HWY_ATTR {
    part.StoreCodes(hn::Mul(part.Load(x + i), inverse), y + i);
  });
}

// Writes the codes of x and returns the row's scale.
HWY_INLINE float QuantizeRow(const float* x, int64_t n, int8_t* y) {
  const float scale = AbsMax(x, n) / 127.0f;
  WriteCodes(x, n, scale == 0 ? 0 : 1 / scale, y);
  return scale;
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
