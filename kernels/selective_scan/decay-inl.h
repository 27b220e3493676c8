// exp(Δ a), the decay of a state. It is most of the scan's arithmetic, so this version is
// specialized for the scan. Computing 2^v with v = Δ · (a log2 e) saves the products with log2 e
// and ln 2. 2^0 is exactly 1, and the slope at 0 is exact to fp32, so that a state with slow decay
// (Δa near 0) accumulates no bias over time.
#include "hwy/highway.h"

#if defined(WHIPSNAKE_KERNELS_SELECTIVE_SCAN_DECAY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WHIPSNAKE_KERNELS_SELECTIVE_SCAN_DECAY_INL_H_
#undef WHIPSNAKE_KERNELS_SELECTIVE_SCAN_DECAY_INL_H_
#else
#define WHIPSNAKE_KERNELS_SELECTIVE_SCAN_DECAY_INL_H_
#endif

#include <bit>
#include <cstdint>

#include "kernels/activation/activation-inl.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

inline constexpr float kLog2E = 0x1.715476p0f;

// For |Δ a log2 e| below this, 2^v is a normal number, and scaling by it is an addition to the
// exponent.
inline constexpr float kOrdinary = 125.0f;

#if HWY_TARGET == HWY_AVX3

// The bits of 2^(i/16), minus i << kShift. The subtraction cancels the fraction bits of the value
// that is added to the exponent.
struct RootsOfTwo {
  static constexpr int kFractionBits = 4, kShift = 23 - kFractionBits;
  alignas(64) int32_t bits[16];

  constexpr RootsOfTwo() : bits() {
    constexpr float kRoots[16] = {1.0f,        1.04427378f, 1.09050773f, 1.13878863f,
                                  1.18920712f, 1.24185781f, 1.29683955f, 1.35425555f,
                                  1.41421354f, 1.47682614f, 1.54221082f, 1.61049032f,
                                  1.68179286f, 1.75625217f, 1.83400809f, 1.91520655f};
    for (int i = 0; i < 16; ++i) bits[i] = std::bit_cast<int32_t>(kRoots[i]) - (i << kShift);
  }
};
inline constexpr RootsOfTwo kRootsOfTwo;

// 2^v = 2^n · 2^(i/16) · 2^r, |r| <= 1/32. The middle factor comes from a table in one register.
// This takes two multiplications fewer than the shortest accurate polynomial for |r| <= 1/2.
//
// kOrdinaryOnly omits the handling of exponents outside the range of normal numbers, where the
// result becomes zero or infinity. For all other exponents the bits are the same.
template <bool kOrdinaryOnly>
HWY_INLINE FloatVec Decay(FloatVec step, FloatVec a) {
  const Floats d;
  constexpr int kFractionBits = RootsOfTwo::kFractionBits;
  FloatVec v = hn::Mul(step, a);
  if constexpr (!kOrdinaryOnly) v = AtMost(d, 128.0f, AtLeast(d, -127.0f, v));
  // The low bits of the sum hold v rounded to sixteenths; r is v minus that.
  const FloatVec shifted = hn::Add(v, hn::Set(d, kRoundToInteger / (1 << kFractionBits)));
  const FloatVec r{
      _mm512_reduce_ps(v.raw, kFractionBits << 4 | _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  const __m512i index = _mm512_castps_si512(shifted.raw);
  const __m512i root = _mm512_permutexvar_epi32(index, _mm512_load_si512(&kRootsOfTwo.bits));
  const __m512i scale = _mm512_add_epi32(root, _mm512_slli_epi32(index, RootsOfTwo::kShift));
  // Relative error 1.6e-9.
  const FloatVec p = Horner(d, r, {0.0555023402f, 0.240234286f, 0.693147182f, 1});
  return hn::Mul(p, FloatVec{_mm512_castsi512_ps(scale)});
}

#else

// 2^v = 2^n · 2^r, |r| <= 1/2. Five terms leave an error of 9.4e-8, which is less than a unit in
// the last place.
template <bool kOrdinaryOnly>
HWY_INLINE FloatVec Decay(FloatVec step, FloatVec a) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const FloatVec magic = hn::Set(d, kRoundToInteger);
  FloatVec shifted = hn::MulAdd(step, a, magic);
  if constexpr (!kOrdinaryOnly) {
    shifted = AtMost(d, kRoundToInteger + 128, AtLeast(d, kRoundToInteger - 127, shifted));
  }
  FloatVec r = hn::MulSub(step, a, hn::Sub(shifted, magic));
  if constexpr (!kOrdinaryOnly) r = AtLeast(d, -1.0f, r);
  const FloatVec p =
      Horner(d, r, {0.00132697239f, 0.00967139285f, 0.0555071086f, 0.240222454f, 0.693147004f, 1});
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
  if constexpr (kOrdinaryOnly) return hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent));
  const auto one = hn::BitCast(di, hn::Set(d, 1.0f));
  return hn::Mul(p, hn::BitCast(d, hn::Add(exponent, one)));
}

#endif  // HWY_TARGET

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
