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

// What normalizes a row.
struct RowStatistics {
  float mean, rstd;
};

// Of the row whose elements load(i, part) returns; it is called once for each, in order. A second
// pass reads them from r.
template <typename Load>
HWY_INLINE RowStatistics StatisticsOf(const Load& load, const float* r, int64_t columns,
                                      float epsilon) {
  const float mean = Sum(columns, load) / static_cast<float>(columns);
  const FloatVec center = hn::Set(Floats(), mean);
  const float squares = Sum(columns, [=](int64_t i, auto part) HWY_ATTR {
    const FloatVec difference = Zeroed(part, hn::Sub(part.Load(r + i), center));
    return hn::Mul(difference, difference);
  });
  const float variance = squares / static_cast<float>(columns);
  return {mean, 1.0f / std::sqrt(variance + epsilon)};
}

// Calls write(i, part, x̂) for each vector of the row r.
template <typename Write>
HWY_INLINE void ForEachNormal(const RowStatistics& statistics, const float* r, int64_t columns,
                              const Write& write) {
  const FloatVec center = hn::Set(Floats(), statistics.mean);
  const FloatVec scale = hn::Set(Floats(), statistics.rstd);
  ForEachVector(0, columns, [&](int64_t i, auto part) HWY_ATTR {
    write(i, part, hn::Mul(hn::Sub(part.Load(r + i), center), scale));
  });
}

template <typename T>
HWY_INLINE void NormalizeRow(const float* h, float* r, const LayerNormWeights& weights,
                             int64_t columns, T* y) {
  const auto add = [=](int64_t i, auto part) HWY_ATTR {
    FloatVec value = part.Load(r + i);
    if (h != nullptr) {
      value = hn::Add(value, part.Load(h + i));
      part.Store(value, r + i);
    }
    return value;
  };
  ForEachNormal(StatisticsOf(add, r, columns, weights.epsilon), r, columns,
                [&](int64_t i, auto part, FloatVec normal) HWY_ATTR {
                  StoreLanes(
                      part,
                      hn::MulAdd(part.Load(weights.gamma + i), normal, part.Load(weights.beta + i)),
                      y + i);
                });
}

// Writes x̂ and returns rstd.
float LayerNormalizeRow(const float* x, float epsilon, int64_t columns, float* normalized) {
  const auto load = [=](int64_t i, auto part) HWY_ATTR { return part.Load(x + i); };
  const RowStatistics statistics = StatisticsOf(load, x, columns, epsilon);
  ForEachNormal(statistics, x, columns, [=](int64_t i, auto part, FloatVec normal) HWY_ATTR {
    part.Store(normal, normalized + i);
  });
  return statistics.rstd;
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

// Adds to gx[D] and to the sums over rows, gamma_sums[D] and beta_sums[D]. normal(i, part) returns
// the row's x̂, of which k_mean and k_normal_mean are mean(k) and mean(k ∘ x̂).
template <typename Normal>
HWY_INLINE void AddToGradients(const Normal& normal, float rstd, float k_mean, float k_normal_mean,
                               const float* gamma, const float* g, int64_t columns, float* gx,
                               float* gamma_sums, float* beta_sums) {
  const FloatVec scale = hn::Set(Floats(), rstd), center = hn::Set(Floats(), k_mean);
  const FloatVec slope = hn::Set(Floats(), k_normal_mean);
  ForEachVector(0, columns, [=](int64_t i, auto part) HWY_ATTR {
    const FloatVec g_i = part.Load(g + i), normal_i = normal(i, part);
    const FloatVec k = hn::Mul(g_i, part.Load(gamma + i));
    const FloatVec rest = hn::NegMulAdd(normal_i, slope, hn::Sub(k, center));
    part.Store(hn::MulAdd(scale, rest, part.Load(gx + i)), gx + i);
    part.Store(hn::MulAdd(g_i, normal_i, part.Load(gamma_sums + i)), gamma_sums + i);
    part.Store(hn::Add(g_i, part.Load(beta_sums + i)), beta_sums + i);
  });
}

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
  const auto normal = [=](int64_t i, auto part)
                          HWY_ATTR { return hn::Mul(hn::Sub(part.Load(x + i), mean), rstd); };
  AddToGradients(normal, reciprocal, scale * k_sum, scale * reciprocal * kc_sum, weights.gamma, g,
                 columns, gx, gamma_sums, beta_sums);
}

HWY_INLINE void NormalizedBackwardRow(const float* normalized, float rstd, const float* gamma,
                                      const float* g, int64_t columns, float* gx, float* gamma_sums,
                                      float* beta_sums) {
  const float scale = 1.0f / static_cast<float>(columns);
  const auto normal = [=](int64_t i, auto part) HWY_ATTR { return part.Load(normalized + i); };
  const auto [k_sum, k_normal_sum] = Sums<2>(columns, [=](int64_t i, auto part) HWY_ATTR {
    const FloatVec k = hn::Mul(part.Load(g + i), part.Load(gamma + i));
    return FloatVecs<2>{k, hn::Mul(k, normal(i, part))};
  });
  AddToGradients(normal, rstd, scale * k_sum, scale * k_normal_sum, gamma, g, columns, gx,
                 gamma_sums, beta_sums);
}

void LayerNormBackwardRows(MatrixView<const float> x, const LayerNormWeights& weights,
                           MatrixView<const float> g, MatrixView<float> gx, int64_t begin,
                           int64_t end, float* gamma_sums, float* beta_sums) {
  for (int64_t t = begin; t < end; ++t) {
    BackwardRow(x.row(t), weights, g.row(t), x.cols, gx.row(t), gamma_sums, beta_sums);
  }
}

void NormalizedLayerNormBackwardRows(MatrixView<const float> normalized, const float* rstd,
                                     const float* gamma, MatrixView<const float> g,
                                     MatrixView<float> gx, int64_t begin, int64_t end,
                                     float* gamma_sums, float* beta_sums) {
  for (int64_t t = begin; t < end; ++t) {
    NormalizedBackwardRow(normalized.row(t), rstd[t], gamma, g.row(t), normalized.cols, gx.row(t),
                          gamma_sums, beta_sums);
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
HWY_EXPORT(LayerNormalizeRow);
HWY_EXPORT(LayerNormBackwardRows);
HWY_EXPORT(NormalizedLayerNormBackwardRows);

constexpr double kNanosecondsEach = 0.2;
constexpr double kBackwardNanosecondsEach = 0.5;

// Calls normalize(context, t, h's row or null, r's row) for every row; the context is that of the
// share.
template <typename Normalize>
void ForEachRow(const Context& context, MatrixView<const float> h, MatrixView<float> residual,
                const Normalize& normalize) {
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
  SumOverRows<2>(context, x.rows, x.cols, kBackwardNanosecondsEach * x.rows * x.cols,
                 {gradients.gamma, gradients.beta}, [&](int64_t begin, int64_t end, float* sums) {
                   HWY_DYNAMIC_DISPATCH(LayerNormBackwardRows)
                   (x, weights, g, gradients.x, begin, end, sums, sums + x.cols);
                 });
}

void NormalizedLayerNormBackward(const Context& context, MatrixView<const float> normalized,
                                 const float* rstd, const float* gamma, MatrixView<const float> g,
                                 const LayerNormGradients& gradients) {
  SumOverRows<2>(context, g.rows, g.cols, kBackwardNanosecondsEach * g.rows * g.cols,
                 {gradients.gamma, gradients.beta}, [&](int64_t begin, int64_t end, float* sums) {
                   HWY_DYNAMIC_DISPATCH(NormalizedLayerNormBackwardRows)
                   (normalized, rstd, gamma, g, gradients.x, begin, end, sums, sums + g.cols);
                 });
}

void LayerNormalize(const Context& context, MatrixView<const float> x, float epsilon,
                    MatrixView<float> normalized, float* rstd) {
  ParallelRows(context, x.rows, kNanosecondsEach * x.rows * x.cols,
               [&](const Context&, int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) {
                   rstd[t] = HWY_DYNAMIC_DISPATCH(LayerNormalizeRow)(x.row(t), epsilon, x.cols,
                                                                     normalized.row(t));
                 }
               });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
