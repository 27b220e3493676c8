#include <cmath>
#include <cstdint>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/layer_norm/layer_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/layer_norm/layer_norm_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
//
#include "kernels/cpu/lanes-inl.h"
#include "kernels/row_quantization/row_quantization-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {

// Σ term(i, part). For a partial vector, `term` must return zeros in the missing lanes. Two sums,
// so that consecutive additions do not depend on each other.
template <typename Term>
HWY_INLINE float Sum(int64_t columns, const Term& term) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  FloatVec even = hn::Zero(Floats()), odd = hn::Zero(Floats());
  int64_t i = 0;
  for (; i + 2 * lanes <= columns; i += 2 * lanes) {
    even = hn::Add(even, term(i, FullVector()));
    odd = hn::Add(odd, term(i + lanes, FullVector()));
  }
  for (; i < columns; i += lanes) {
    const int64_t left = columns - i;
    even = hn::Add(even, left >= lanes ? term(i, FullVector()) : term(i, PartOfVector{left}));
  }
  return hn::GetLane(hn::SumOfLanes(Floats(), hn::Add(even, odd)));
}

HWY_INLINE FloatVec Zeroed(FullVector, FloatVec v) { return v; }
HWY_INLINE FloatVec Zeroed(PartOfVector part, FloatVec v) {
  return hn::IfThenElseZero(hn::FirstN(Floats(), part.count), v);
}

template <typename T>
HWY_INLINE void NormalizeRow(const float* h, float* r, const LayerNormWeights& weights,
                             int64_t columns, T* y) {
  const float mean = Sum(columns,
                         [=](int64_t i, auto part) HWY_ATTR {
                           FloatVec value = part.Load(r + i);
                           if (h != nullptr) {
                             value = hn::Add(value, part.Load(h + i));
                             part.Store(value, r + i);
                           }
                           return value;
                         }) /
                     static_cast<float>(columns);
  const FloatVec center = hn::Set(Floats(), mean);
  const float squares = Sum(columns, [=](int64_t i, auto part) HWY_ATTR {
    const FloatVec difference = Zeroed(part, hn::Sub(part.Load(r + i), center));
    return hn::Mul(difference, difference);
  });
  const float variance = squares / static_cast<float>(columns);
  const FloatVec scale = hn::Set(Floats(), 1.0f / std::sqrt(variance + weights.epsilon));
  ForEachVector(0, columns, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVec normal = hn::Mul(hn::Sub(part.Load(r + i), center), scale);
    StoreLanes(part, hn::MulAdd(part.Load(weights.gamma + i), normal, part.Load(weights.beta + i)),
               y + i);
  });
}

void NormalizeToFloats(const float* h, float* r, const LayerNormWeights& weights, int64_t columns,
                       float* y) {
  NormalizeRow(h, r, weights, columns, y);
}
void NormalizeToCodes(const float* h, float* r, const LayerNormWeights& weights, int64_t columns,
                      int8_t* y) {
  NormalizeRow(h, r, weights, columns, y);
}
// Returns the row's scale.
float NormalizeToOwnCodes(const float* h, float* r, const LayerNormWeights& weights,
                          int64_t columns, float* scratch, int8_t* y) {
  NormalizeRow(h, r, weights, columns, scratch);
  return QuantizeRow(scratch, columns, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(NormalizeToFloats);
HWY_EXPORT(NormalizeToCodes);
HWY_EXPORT(NormalizeToOwnCodes);

// Calls normalize(context, t, h's row or null, r's row) for every row; the context is that of the
// share.
template <typename Normalize>
void ForEachRow(const Context& context, MatrixView<const float> h, MatrixView<float> residual,
                const Normalize& normalize) {
  constexpr double kNanosecondsEach = 0.2;
  ParallelRows(context, residual.rows, kNanosecondsEach * residual.rows * residual.cols,
               [&](const Context& own, int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) {
                   normalize(own, t, h.empty() ? nullptr : h.row(t), residual.row(t));
                 }
               });
}

}  // namespace

void ResidualLayerNorm(const Context& context, MatrixView<const float> h,
                       MatrixView<float> residual, const LayerNormWeights& weights,
                       MatrixView<float> y) {
  ForEachRow(context, h, residual, [&](const Context&, int64_t t, const float* addend, float* r) {
    HWY_DYNAMIC_DISPATCH(NormalizeToFloats)(addend, r, weights, residual.cols, y.row(t));
  });
}

void ResidualLayerNorm(const Context& context, MatrixView<const float> h,
                       MatrixView<float> residual, const LayerNormWeights& weights,
                       MatrixView<int8_t> y) {
  ForEachRow(context, h, residual, [&](const Context&, int64_t t, const float* addend, float* r) {
    HWY_DYNAMIC_DISPATCH(NormalizeToCodes)(addend, r, weights, residual.cols, y.row(t));
  });
}

void ResidualLayerNorm(const Context& context, MatrixView<const float> h,
                       MatrixView<float> residual, const LayerNormWeights& weights,
                       MatrixView<int8_t> y, float* scale) {
  ForEachRow(context, h, residual,
             [&](const Context& own, int64_t t, const float* addend, float* r) {
               OperationScratch scratch(own);
               scale[t] = HWY_DYNAMIC_DISPATCH(NormalizeToOwnCodes)(
                   addend, r, weights, residual.cols, scratch.Get<float>(residual.cols), y.row(t));
             });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
