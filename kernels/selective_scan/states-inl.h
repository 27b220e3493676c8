// Loads, rounds and stores vectors of the states h[N,E] of one sequence, with one class per dtype.
// Round(v, n) returns the result of storing v as states [n, .] and loading it again.
#include "hwy/highway.h"

#if defined(WHIPSNAKE_KERNELS_SELECTIVE_SCAN_STATES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WHIPSNAKE_KERNELS_SELECTIVE_SCAN_STATES_INL_H_
#undef WHIPSNAKE_KERNELS_SELECTIVE_SCAN_STATES_INL_H_
#else
#define WHIPSNAKE_KERNELS_SELECTIVE_SCAN_STATES_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

struct FloatStates {
  static constexpr bool kExact = true;
  float* h;
  int64_t channels;

  float* at(int64_t n, int64_t e) const { return h + n * channels + e; }
  template <class Part>
  HWY_INLINE FloatVec Load(int64_t n, int64_t e, Part part) const {
    return part.Load(at(n, e));
  }
  template <class Part>
  HWY_INLINE void Store(FloatVec v, int64_t n, int64_t e, Part part) const {
    part.Store(v, at(n, e));
  }
  HWY_INLINE FloatVec Round(FloatVec v, int64_t) const { return v; }
};

struct CodeStates {
  static constexpr bool kExact = false;
  int8_t* h;
  int64_t channels;
  const float* scale;       // [N]
  const float* reciprocal;  // [N], 1 / scale

  int8_t* at(int64_t n, int64_t e) const { return h + n * channels + e; }
  template <class Part>
  HWY_INLINE FloatVec Load(int64_t n, int64_t e, Part part) const {
    return hn::Mul(part.LoadCodes(at(n, e)), hn::Set(Floats(), scale[n]));
  }
  template <class Part>
  HWY_INLINE void Store(FloatVec v, int64_t n, int64_t e, Part part) const {
    part.StoreCodes(hn::Mul(v, hn::Set(Floats(), reciprocal[n])), at(n, e));
  }
  HWY_INLINE FloatVec Round(FloatVec v, int64_t n) const {
    const Floats d;
    const FloatVec units = hn::Mul(v, hn::Set(d, reciprocal[n]));
    return hn::Mul(RoundToCodes(units), hn::Set(d, scale[n]));
  }
};

struct BF16States {
  static constexpr bool kExact = false;
  uint16_t* h;
  int64_t channels;

  using Halves = hn::Rebind<uint16_t, Floats>;  // the same number of lanes
  using Words = hn::RebindToUnsigned<Floats>;

  uint16_t* at(int64_t n, int64_t e) const { return h + n * channels + e; }

  static HWY_INLINE FloatVec Widen(hn::Vec<Halves> halves) {
    return hn::BitCast(Floats(), hn::ShiftLeft<16>(hn::PromoteTo(Words(), halves)));
  }
  // Applies FromBF16(ToBF16()) to every lane, bit for bit.
  HWY_INLINE FloatVec Round(FloatVec v, int64_t) const {
    const Words d;
    const auto bits = hn::BitCast(d, v);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1));
    const auto rounded = hn::Add(hn::Add(bits, hn::Set(d, 0x7fff)), odd);
    const auto nan = hn::Or(bits, hn::Set(d, 0x400000));
    const auto number = hn::RebindMask(d, hn::Eq(v, v));
    const auto upper = hn::Set(d, 0xffff0000u);
    return hn::BitCast(Floats(), hn::And(hn::IfThenElse(number, rounded, nan), upper));
  }
  HWY_INLINE hn::Vec<Halves> Narrow(FloatVec v) const {
    return hn::TruncateTo(Halves(), hn::ShiftRight<16>(hn::BitCast(Words(), Round(v, 0))));
  }

  HWY_INLINE FloatVec Load(int64_t n, int64_t e, FullVector) const {
    return Widen(hn::LoadU(Halves(), at(n, e)));
  }
  HWY_INLINE void Store(FloatVec v, int64_t n, int64_t e, FullVector) const {
    hn::StoreU(Narrow(v), Halves(), at(n, e));
  }
  HWY_INLINE FloatVec Load(int64_t n, int64_t e, PartOfVector part) const {
    HWY_ALIGN uint16_t lanes[hn::MaxLanes(Halves())] = {};
    std::memcpy(lanes, at(n, e), part.count * sizeof(uint16_t));
    return Widen(hn::Load(Halves(), lanes));
  }
  HWY_INLINE void Store(FloatVec v, int64_t n, int64_t e, PartOfVector part) const {
    HWY_ALIGN uint16_t lanes[hn::MaxLanes(Halves())];
    hn::Store(Narrow(v), Halves(), lanes);
    std::memcpy(at(n, e), lanes, part.count * sizeof(uint16_t));
  }
};

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
