#include <cmath>
#include <cstdint>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/sums_over_rows.h"
#include "kernels/rms_norm/rms_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rms_norm/rms_norm_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/sums_over_columns-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Does r += h if h is not null, and returns Σ r². Two sums, so that consecutive additions do not
// depend on each other.
float AddAndSquare(const float* h, float* r, int64_t columns) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = hn::Lanes(d);
  const auto add = [&](int64_t at) HWY_ATTR {
    auto value = hn::LoadU(d, r + at);
    if (h != nullptr) {
      value = hn::Add(value, hn::LoadU(d, h + at));
      hn::StoreU(value, d, r + at);
    }
    return value;
  };
  auto even = hn::Zero(d);
  auto odd = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= columns; i += 2 * lanes) {
    const auto first = add(i);
    const auto second = add(i + lanes);
    even = hn::MulAdd(first, first, even);
    odd = hn::MulAdd(second, second, odd);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < columns; ++i) {
    if (h != nullptr) r[i] += h[i];
    sum += r[i] * r[i];
  }
  return sum;
}

template <typename T>
void NormalizeRow(const float* h, float* r, const float* gamma, float epsilon, int64_t columns,
                  T* y) {
  const float mean = AddAndSquare(h, r, columns) / static_cast<float>(columns);
  const FloatVec scale = hn::Set(Floats(), 1.0f / std::sqrt(mean + epsilon));
  ForEachVector(0, columns, [&](int64_t i, auto part) HWY_ATTR {
    StoreLanes(part, hn::Mul(part.Load(gamma + i), hn::Mul(part.Load(r + i), scale)), y + i);
  });
}

void NormalizeRowToFloats(const float* h, float* r, const float* gamma, float epsilon,
                          int64_t columns, float* y) {
  NormalizeRow(h, r, gamma, epsilon, columns, y);
}
void NormalizeRowToCodes(const float* h, float* r, const float* gamma, float epsilon,
                         int64_t columns, int8_t* y) {
  NormalizeRow(h, r, gamma, epsilon, columns, y);
}

// Writes x̂ and returns rstd.
float RmsNormalizeRow(const float* x, float epsilon, int64_t columns, float* normalized) {
  const float squares = Sums<1>(columns, [=](int64_t i, auto part) HWY_ATTR {
    const FloatVec x_i = part.Load(x + i);
    return FloatVecs<1>{hn::Mul(x_i, x_i)};
  })[0];
  const float scale = 1.0f / static_cast<float>(columns);
  const float reciprocal = 1.0f / std::sqrt(scale * squares + epsilon);
  const FloatVec rstd = hn::Set(Floats(), reciprocal);
  ForEachVector(0, columns, [=](int64_t i, auto part) HWY_ATTR {
    part.Store(hn::Mul(part.Load(x + i), rstd), normalized + i);
  });
  return reciprocal;
}

// Adds to gx[D] and to the sums over rows, gamma_sums[D]. normal(i, part) returns the row's x̂, of
// which k_normal_mean is mean(k ∘ x̂).
template <typename Normal>
HWY_INLINE void AddToGradients(const Normal& normal, float rstd, float k_normal_mean,
                               const float* gamma, const float* g, int64_t columns, float* gx,
                               float* gamma_sums) {
  const FloatVec scale = hn::Set(Floats(), rstd), slope = hn::Set(Floats(), k_normal_mean);
  ForEachVector(0, columns, [=](int64_t i, auto part) HWY_ATTR {
    const FloatVec g_i = part.Load(g + i), normal_i = normal(i, part);
    const FloatVec k = hn::Mul(g_i, part.Load(gamma + i));
    const FloatVec rest = hn::NegMulAdd(normal_i, slope, k);
    part.Store(hn::MulAdd(scale, rest, part.Load(gx + i)), gx + i);
    part.Store(hn::MulAdd(g_i, normal_i, part.Load(gamma_sums + i)), gamma_sums + i);
  });
}

HWY_INLINE void BackwardRow(const float* x, const float* gamma, float epsilon, const float* g,
                            int64_t columns, float* gx, float* gamma_sums) {
  const float scale = 1.0f / static_cast<float>(columns);
  const auto [squares, kx_sum] = Sums<2>(columns, [=](int64_t i, auto part) HWY_ATTR {
    const FloatVec x_i = part.Load(x + i);
    const FloatVec k = hn::Mul(part.Load(g + i), part.Load(gamma + i));
    return FloatVecs<2>{hn::Mul(x_i, x_i), hn::Mul(k, x_i)};
  });
  const float reciprocal = 1.0f / std::sqrt(scale * squares + epsilon);
  const FloatVec rstd = hn::Set(Floats(), reciprocal);
  const auto normal = [=](int64_t i, auto part)
                          HWY_ATTR { return hn::Mul(part.Load(x + i), rstd); };
  AddToGradients(normal, reciprocal, scale * reciprocal * kx_sum, gamma, g, columns, gx,
                 gamma_sums);
}

HWY_INLINE void NormalizedBackwardRow(const float* normalized, float rstd, const float* gamma,
                                      const float* g, int64_t columns, float* gx,
                                      float* gamma_sums) {
  const float scale = 1.0f / static_cast<float>(columns);
  const auto normal = [=](int64_t i, auto part) HWY_ATTR { return part.Load(normalized + i); };
  const float k_normal_sum = Sums<1>(columns, [=](int64_t i, auto part) HWY_ATTR {
    const FloatVec k = hn::Mul(part.Load(g + i), part.Load(gamma + i));
    return FloatVecs<1>{hn::Mul(k, normal(i, part))};
  })[0];
  AddToGradients(normal, rstd, scale * k_normal_sum, gamma, g, columns, gx, gamma_sums);
}

void RmsNormBackwardRows(MatrixView<const float> x, const float* gamma, float epsilon,
                         MatrixView<const float> g, MatrixView<float> gx, int64_t begin,
                         int64_t end, float* gamma_sums) {
  for (int64_t t = begin; t < end; ++t) {
    BackwardRow(x.row(t), gamma, epsilon, g.row(t), x.cols, gx.row(t), gamma_sums);
  }
}

void NormalizedRmsNormBackwardRows(MatrixView<const float> normalized, const float* rstd,
                                   const float* gamma, MatrixView<const float> g,
                                   MatrixView<float> gx, int64_t begin, int64_t end,
                                   float* gamma_sums) {
  for (int64_t t = begin; t < end; ++t) {
    NormalizedBackwardRow(normalized.row(t), rstd[t], gamma, g.row(t), normalized.cols, gx.row(t),
                          gamma_sums);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(NormalizeRowToFloats);
HWY_EXPORT(NormalizeRowToCodes);
HWY_EXPORT(RmsNormalizeRow);
HWY_EXPORT(RmsNormBackwardRows);
HWY_EXPORT(NormalizedRmsNormBackwardRows);

constexpr double kNanosecondsEach = 0.12;
constexpr double kBackwardNanosecondsEach = 0.4;

template <typename T>
void NormalizeRows(const Context& context, MatrixView<const float> h, MatrixView<float> residual,
                   const float* gamma, float epsilon, MatrixView<T> y,
                   void (*normalize)(const float* h, float* r, const float* gamma, float epsilon,
                                     int64_t columns, T* y)) {
  ParallelRows(context, residual.rows, kNanosecondsEach * residual.rows * residual.cols,
               [&](const Context&, int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) {
                   normalize(h.empty() ? nullptr : h.row(t), residual.row(t), gamma, epsilon,
                             residual.cols, y.row(t));
                 }
               });
}

}  // namespace

void ResidualRmsNorm(const Context& context, MatrixView<const float> h, MatrixView<float> residual,
                     const float* gamma, float epsilon, MatrixView<float> y) {
  NormalizeRows(context, h, residual, gamma, epsilon, y,
                HWY_DYNAMIC_DISPATCH(NormalizeRowToFloats));
}

void ResidualRmsNorm(const Context& context, MatrixView<const float> h, MatrixView<float> residual,
                     const float* gamma, float epsilon, MatrixView<int8_t> y) {
  NormalizeRows(context, h, residual, gamma, epsilon, y, HWY_DYNAMIC_DISPATCH(NormalizeRowToCodes));
}

void RmsNormBackward(const Context& context, MatrixView<const float> x, const float* gamma,
                     float epsilon, MatrixView<const float> g, MatrixView<float> gx,
                     float* ggamma) {
  SumOverRows<1>(context, x.rows, x.cols, kBackwardNanosecondsEach * x.rows * x.cols, {ggamma},
                 [&](int64_t begin, int64_t end, float* gamma_sums) {
                   HWY_DYNAMIC_DISPATCH(RmsNormBackwardRows)
                   (x, gamma, epsilon, g, gx, begin, end, gamma_sums);
                 });
}

void NormalizedRmsNormBackward(const Context& context, MatrixView<const float> normalized,
                               const float* rstd, const float* gamma, MatrixView<const float> g,
                               MatrixView<float> gx, float* ggamma) {
  SumOverRows<1>(context, g.rows, g.cols, kBackwardNanosecondsEach * g.rows * g.cols, {ggamma},
                 [&](int64_t begin, int64_t end, float* gamma_sums) {
                   HWY_DYNAMIC_DISPATCH(NormalizedRmsNormBackwardRows)
                   (normalized, rstd, gamma, g, gx, begin, end, gamma_sums);
                 });
}

void RmsNormalize(const Context& context, MatrixView<const float> x, float epsilon,
                  MatrixView<float> normalized, float* rstd) {
  ParallelRows(context, x.rows, kNanosecondsEach * x.rows * x.cols,
               [&](const Context&, int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) {
                   rstd[t] = HWY_DYNAMIC_DISPATCH(RmsNormalizeRow)(x.row(t), epsilon, x.cols,
                                                                   normalized.row(t));
                 }
               });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
