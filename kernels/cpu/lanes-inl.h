// A vector's worth of neighbouring channels, or what is left of one at the end of a row. Both go
// through the same vector arithmetic, so that a channel's bits do not depend on where its row ends.
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

struct FullVector {
  FloatVec Load(const float* from) const { return hn::LoadU(Floats(), from); }
  void Store(FloatVec v, float* to) const { hn::StoreU(v, Floats(), to); }
};

// The first `count` lanes; the others read as zero. Copies, because a masked load may touch (and
// fault on) the masked lanes where the target has none in hardware.
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
};

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
