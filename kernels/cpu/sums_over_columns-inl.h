// Sums over the columns of a row, always in the same order.
#include <array>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

#if defined(WHIPSNAKE_KERNELS_CPU_SUMS_OVER_COLUMNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WHIPSNAKE_KERNELS_CPU_SUMS_OVER_COLUMNS_INL_H_
#undef WHIPSNAKE_KERNELS_CPU_SUMS_OVER_COLUMNS_INL_H_
#else
#define WHIPSNAKE_KERNELS_CPU_SUMS_OVER_COLUMNS_INL_H_
#endif

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

template <size_t count>
using FloatVecs = std::array<FloatVec, count>;

// Σ terms(i, part)[j] for each j < count, in one pass. For a partial vector, `terms` must return
// zeros in the missing lanes. Each sum is taken in two parts, so that consecutive additions do not
// depend on each other.
template <size_t count, typename Terms>
HWY_INLINE std::array<float, count> Sums(int64_t columns, const Terms& terms) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  FloatVecs<count> even, odd;
  for (size_t j = 0; j < count; ++j) even[j] = odd[j] = hn::Zero(Floats());
  const auto add = [](FloatVecs<count>& sums, const FloatVecs<count>& values) HWY_ATTR {
    for (size_t j = 0; j < count; ++j) sums[j] = hn::Add(sums[j], values[j]);
  };
  int64_t i = 0;
  for (; i + 2 * lanes <= columns; i += 2 * lanes) {
    add(even, terms(i, FullVector()));
    add(odd, terms(i + lanes, FullVector()));
  }
  for (; i < columns; i += lanes) {
    const int64_t left = columns - i;
    add(even, left >= lanes ? terms(i, FullVector()) : terms(i, PartOfVector{left}));
  }
  std::array<float, count> sums;
  for (size_t j = 0; j < count; ++j) {
    sums[j] = hn::GetLane(hn::SumOfLanes(Floats(), hn::Add(even[j], odd[j])));
  }
  return sums;
}

// v with zeros in the lanes that a partial vector lacks.
HWY_INLINE FloatVec Zeroed(FullVector, FloatVec v) { return v; }
HWY_INLINE FloatVec Zeroed(PartOfVector part, FloatVec v) {
  return hn::IfThenElseZero(hn::FirstN(Floats(), part.count), v);
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
