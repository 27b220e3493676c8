// Loads and stores of a full vector of neighbouring channels, or of the remaining part of a vector
// at the end of a row. Both use the same vector arithmetic, so a channel's bits do not depend on
// where its row ends.
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"

#if defined(WHIPSNAKE_KERNELS_CPU_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WHIPSNAKE_KERNELS_CPU_LANES_INL_H_
#undef WHIPSNAKE_KERNELS_CPU_LANES_INL_H_
#else
#define WHIPSNAKE_KERNELS_CPU_LANES_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using FloatVec = hn::Vec<Floats>;
using Codes = hn::Rebind<int8_t, Floats>;  // the same number of lanes
using CodeVec = hn::Vec<Codes>;

HWY_INLINE FloatVec FromCodes(CodeVec codes) {
  return hn::ConvertTo(Floats(), hn::PromoteTo(hn::RebindToSigned<Floats>(), codes));
}

// Clamps v to the range of codes; NaN becomes 0.
HWY_INLINE FloatVec Saturated(FloatVec v) {
  const Floats d;
  v = hn::IfThenElseZero(hn::Eq(v, v), v);
  return hn::Min(hn::Max(v, hn::Set(d, -128.0f)), hn::Set(d, 127.0f));
}

// Adding this to a number in [-128, 127] rounds it half to even and leaves the code in the low byte
// of the sum.
inline constexpr float kRoundToCode = 0x1.8p23f;

// Both apply ToCode() to every lane, bit for bit: ToCodes() returns int8, RoundToCodes() floats.
HWY_INLINE CodeVec ToCodes(FloatVec v) {
  const FloatVec shifted = hn::Add(Saturated(v), hn::Set(Floats(), kRoundToCode));
  const auto sum = hn::BitCast(hn::RebindToUnsigned<Floats>(), shifted);
  return hn::BitCast(Codes(), hn::TruncateTo(hn::RebindToUnsigned<Codes>(), sum));
}
HWY_INLINE FloatVec RoundToCodes(FloatVec v) {
  const FloatVec magic = hn::Set(Floats(), kRoundToCode);
  return hn::Sub(hn::Add(Saturated(v), magic), magic);
}

struct FullVector {
  FloatVec Load(const float* from) const { return hn::LoadU(Floats(), from); }
  void Store(FloatVec v, float* to) const { hn::StoreU(v, Floats(), to); }
  FloatVec LoadCodes(const int8_t* from) const { return FromCodes(hn::LoadU(Codes(), from)); }
  void StoreCodes(FloatVec v, int8_t* to) const { hn::StoreU(ToCodes(v), Codes(), to); }
};

// The first `count` lanes of a vector; loads set the others to zero. Copies through memory, because
// on targets without hardware masking a masked load may read masked lanes and fault.
struct PartOfVector {
  int64_t count;

  FloatVec Load(const float* from) const {
    HWY_ALIGN float lanes[hn::MaxLanes(Floats())] = {};
    std::memcpy(lanes, from, count * sizeof(float));
    return hn::Load(Floats(), lanes);
  }
  void Store(FloatVec v, float* to) const {
    HWY_ALIGN float lanes[hn::MaxLanes(Floats())];
    hn::Store(v, Floats(), lanes);
    std::memcpy(to, lanes, count * sizeof(float));
  }
  FloatVec LoadCodes(const int8_t* from) const {
    HWY_ALIGN int8_t lanes[hn::MaxLanes(Codes())] = {};
    std::memcpy(lanes, from, count);
    return FromCodes(hn::Load(Codes(), lanes));
  }
  void StoreCodes(FloatVec v, int8_t* to) const {
    HWY_ALIGN int8_t lanes[hn::MaxLanes(Codes())];
    hn::Store(ToCodes(v), Codes(), lanes);
    std::memcpy(to, lanes, count);
  }
};

// The pointer's type selects fp32 or codes.
template <typename Part>
HWY_INLINE FloatVec LoadLanes(Part part, const float* from) {
  return part.Load(from);
}
template <typename Part>
HWY_INLINE FloatVec LoadLanes(Part part, const int8_t* from) {
  return part.LoadCodes(from);
}
template <typename Part>
HWY_INLINE void StoreLanes(Part part, FloatVec v, float* to) {
  part.Store(v, to);
}
template <typename Part>
HWY_INLINE void StoreLanes(Part part, FloatVec v, int8_t* to) {
  part.StoreCodes(v, to);
}

// total[i] += v[i].
template <typename Part>
HWY_INLINE void AddTo(float* total, FloatVec v, Part part) {
  part.Store(hn::Add(part.Load(total), v), total);
}

// Calls block(channel, FullVector or PartOfVector) for each vector of [begin, end).
template <typename Block>
HWY_INLINE void ForEachVector(int64_t begin, int64_t end, const Block& block) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  int64_t channel = begin;
  for (; channel + lanes <= end; channel += lanes) block(channel, FullVector());
  if (channel < end) block(channel, PartOfVector{end - channel});
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
