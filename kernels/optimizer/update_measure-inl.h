// Measures what an update does to a block, for kernels that inline it.
#include <array>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/sums_over_columns-inl.h"
#include "kernels/optimizer/optimizer.h"

#if defined(WHIPSNAKE_KERNELS_OPTIMIZER_UPDATE_MEASURE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WHIPSNAKE_KERNELS_OPTIMIZER_UPDATE_MEASURE_INL_H_
#undef WHIPSNAKE_KERNELS_OPTIMIZER_UPDATE_MEASURE_INL_H_
#else
#define WHIPSNAKE_KERNELS_OPTIMIZER_UPDATE_MEASURE_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

// The update of one vector of elements.
struct VectorUpdate {
  FloatVec gradient;  // scaled
  FloatVec before, after;
};

// Returns 1 / x for x in [kMinMagnitude, 1e37], with a relative error below 1e-6: an estimate and
// one step of Newton's method, because the update itself keeps the divider busy.
HWY_INLINE FloatVec Reciprocal(FloatVec x) {
  const FloatVec estimate = hn::ApproximateReciprocal(x);
  return hn::Mul(estimate, hn::NegMulAdd(estimate, x, hn::Set(Floats(), 2)));
}

// The terms of UpdateMeasure's sums, in its order; zeros in the lanes that a partial vector lacks.
template <typename Part>
HWY_INLINE FloatVecs<5> MeasureTerms(Part part, const VectorUpdate& update) {
  const Floats d;
  const FloatVec least = hn::Set(d, UpdateMeasure::kMinMagnitude);
  const FloatVec change = hn::Sub(update.after, update.before), distance = hn::Abs(change);
  const FloatVec magnitude = hn::Abs(update.before);
  FloatVec guarded = hn::Mul(distance, Reciprocal(hn::Max(magnitude, least)));
  FloatVec relative = guarded;
  const auto small = hn::Lt(magnitude, least);
  if (HWY_UNLIKELY(!hn::AllFalse(d, small))) {
    relative = Zeroed(part, hn::IfThenElse(small, hn::Div(distance, magnitude), guarded));
    guarded = hn::IfThenZeroElse(hn::Eq(magnitude, hn::Zero(d)), guarded);
  }
  return {relative, guarded, hn::Mul(change, change), hn::Mul(magnitude, magnitude),
          hn::Mul(update.gradient, update.gradient)};
}

// Calls update(i, part) for each vector of [0,n), which returns a VectorUpdate with zeros in the
// lanes that a partial vector lacks. If `measure` is not null, it becomes the measure of them all.
template <typename Update>
HWY_INLINE void MeasuredUpdate(int64_t n, UpdateMeasure* measure, const Update& update) {
  if (measure == nullptr) {
    return ForEachVector(0, n, [&](int64_t i, auto part) HWY_ATTR { update(i, part); });
  }
  const std::array<float, 5> sums = Sums<5>(
      n, [&](int64_t i, auto part) HWY_ATTR { return MeasureTerms(part, update(i, part)); });
  *measure = {sums[0], sums[1], sums[2], sums[3], sums[4]};
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
