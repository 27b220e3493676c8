#include <cmath>
#include <cstdint>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/sums_over_rows.h"
#include "kernels/layer_norm/layer_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/layer_norm/layer_norm_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
//
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/sums_over_columns-inl.h"
#include "kernels/row_quantization/row_quantization-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {

template <typename Term>
HWY_INLINE float Sum(int64_t columns, const Term& term) {
  return Sums<1>(columns,
                 [&](int64_t i, auto part) HWY_ATTR { return FloatVecs<1>{term(i, part)}; })[0];
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

// Adds to gx[D] and to the sums over rows, gamma_sums[D] and beta_sums[D].
HWY_INLINE void BackwardRow(const float* x, const LayerNormWeights& weights, const float* g,
                            int64_t columns, float* gx, float* gamma_sums, float* beta_sums) {
  const float scale = 1.0f / static_cast<float>(columns);
  const float x_sum = Sum(columns, [=](int64_t i, auto part) HWY_ATTR { return part.Load(x + i); });
  const FloatVec mean = hn::Set(Floats(), scale * x_sum);
  // With c = x - mean: c², k and k ∘ c.
  const auto [squares, k_sum, kc_sum] = Sums<3>(columns, [=](int64_t i, auto part) HWY_ATTR {
    const FloatVec c = Zeroed(part, hn::Sub(part.Load(x + i), mean));
    const FloatVec k = hn::Mul(part.Load(g + i), part.Load(weights.gamma + i));
    return FloatVecs<3>{hn::Mul(c, c), k, hn::Mul(k, c)};
  });
  const float reciprocal = 1.0f / std::sqrt(scale * squares + weights.epsilon);
  const FloatVec rstd = hn::Set(Floats(), reciprocal);
  const FloatVec k_mean = hn::Set(Floats(), scale * k_sum);
  const FloatVec k_normal_mean = hn::Set(Floats(), scale * reciprocal * kc_sum);
  ForEachVector(0, columns, [=](int64_t i, auto part) HWY_ATTR {
    const FloatVec g_i = part.Load(g + i);
    const FloatVec normal = hn::Mul(hn::Sub(part.Load(x + i), mean), rstd);
    const FloatVec k = hn::Mul(g_i, part.Load(weights.gamma + i));
    const FloatVec rest = hn::NegMulAdd(normal, k_normal_mean, hn::Sub(k, k_mean));
    part.Store(hn::MulAdd(rstd, rest, part.Load(gx + i)), gx + i);
    part.Store(hn::MulAdd(g_i, normal, part.Load(gamma_sums + i)), gamma_sums + i);
    part.Store(hn::Add(g_i, part.Load(beta_sums + i)), beta_sums + i);
  });
}

void LayerNormBackwardRows(MatrixView<const float> x, const LayerNormWeights& weights,
                           MatrixView<const float> g, MatrixView<float> gx, int64_t begin,
                           int64_t end, float* gamma_sums, float* beta_sums) {
  for (int64_t t = begin; t < end; ++t) {
    BackwardRow(x.row(t), weights, g.row(t), x.cols, gx.row(t), gamma_sums, beta_sums);
  }
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
HWY_EXPORT(LayerNormBackwardRows);

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

void LayerNormBackward(const Context& context, MatrixView<const float> x,
                       const LayerNormWeights& weights, MatrixView<const float> g,
                       const LayerNormGradients& gradients) {
  constexpr double kNanosecondsEach = 0.5;
  SumOverRows<2>(context, x.rows, x.cols, kNanosecondsEach * x.rows * x.cols,
                 {gradients.gamma, gradients.beta}, [&](int64_t begin, int64_t end, float* sums) {
                   HWY_DYNAMIC_DISPATCH(LayerNormBackwardRows)
                   (x, weights, g, gradients.x, begin, end, sums, sums + x.cols);
                 });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
