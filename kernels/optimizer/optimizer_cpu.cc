#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cpu/parallel.h"
#include "kernels/matmul/bf16_cpu.h"
#include "kernels/optimizer/optimizer.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/optimizer/optimizer_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
//
#include "kernels/cpu/lanes-inl.h"
#include "kernels/optimizer/moment_code-inl.h"
#include "kernels/optimizer/update_measure-inl.h"

#ifndef WHIPSNAKE_KERNELS_OPTIMIZER_OPTIMIZER_CPU_CC_
#define WHIPSNAKE_KERNELS_OPTIMIZER_OPTIMIZER_CPU_CC_
namespace whipsnake::kernels {

// What all elements share in one step, computed in fp64 and rounded.
struct AdamWFactors {
  explicit AdamWFactors(const AdamW& a)
      : gradient_scale(a.gradient_scale),
        kept(1 - a.learning_rate * a.weight_decay),
        beta1(a.beta1),
        rest1(1 - a.beta1),
        beta2(a.beta2),
        rest2(1 - a.beta2),
        rate(a.learning_rate / (1 - std::pow(a.beta1, a.step))),
        correction(1 / std::sqrt(1 - std::pow(a.beta2, a.step))),
        epsilon(a.epsilon) {}

  float gradient_scale;
  float kept;          // 1 - lr · decay
  float beta1, rest1;  // β1, 1 - β1
  float beta2, rest2;  // β2, 1 - β2
  float rate;          // lr / (1 - β1^s)
  float correction;    // 1 / sqrt(1 - β2^s)
  float epsilon;
};

}  // namespace whipsnake::kernels
#endif  // WHIPSNAKE_KERNELS_OPTIMIZER_OPTIMIZER_CPU_CC_

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

void UpdateAdamW(const AdamWFactors& factors, const float* g, int64_t n, float* w, float* m,
                 float* v, UpdateMeasure* measure) {
  const Floats d;
  const FloatVec scale = hn::Set(d, factors.gradient_scale), kept = hn::Set(d, factors.kept);
  const FloatVec beta1 = hn::Set(d, factors.beta1), rest1 = hn::Set(d, factors.rest1);
  const FloatVec beta2 = hn::Set(d, factors.beta2), rest2 = hn::Set(d, factors.rest2);
  const FloatVec rate = hn::Set(d, factors.rate), correction = hn::Set(d, factors.correction);
  const FloatVec epsilon = hn::Set(d, factors.epsilon);
  MeasuredUpdate(n, measure, [=](int64_t i, auto part) HWY_ATTR {
    const FloatVec gradient = hn::Mul(scale, part.Load(g + i)), weight = part.Load(w + i);
    const FloatVec mean = hn::MulAdd(beta1, part.Load(m + i), hn::Mul(rest1, gradient));
    const FloatVec square =
        hn::MulAdd(beta2, part.Load(v + i), hn::Mul(hn::Mul(rest2, gradient), gradient));
    const FloatVec denominator = hn::MulAdd(hn::Sqrt(square), correction, epsilon);
    const FloatVec updated = hn::NegMulAdd(rate, hn::Div(mean, denominator), hn::Mul(kept, weight));
    part.Store(updated, w + i);
    part.Store(mean, m + i);
    part.Store(square, v + i);
    return VectorUpdate{gradient, weight, updated};
  });
}

// Updates one block of moments; `moments` are the block's.
HWY_INLINE void UpdateMomentBlock(const AdamWFactors& factors, const float* g, int64_t n, float* w,
                                  const Moments8& moments, UpdateMeasure* measure) {
  HWY_ALIGN float m[kMomentBlock], v[kMomentBlock];
  DecodeMoments<SignedCode>(moments.m, n, *moments.m_scale, m);
  DecodeMoments<UnsignedCode>(moments.v, n, *moments.v_scale, v);
  UpdateAdamW(factors, g, n, w, m, v, measure);
  *moments.m_scale = EncodeMoments<SignedCode>(m, n, moments.m);
  *moments.v_scale = EncodeMoments<UnsignedCode>(v, n, moments.v);
}

void UpdateAdamW8(const AdamWFactors& factors, const float* g, int64_t n, float* w,
                  const Moments8& moments, UpdateMeasure* measure) {
  if (measure != nullptr) *measure = {};
  for (int64_t i = 0; i < n; i += kMomentBlock) {
    UpdateMeasure of_block;
    const int64_t block = i / kMomentBlock;
    UpdateMomentBlock(
        factors, g + i, std::min(kMomentBlock, n - i), w + i,
        {moments.m + i, moments.v + i, moments.m_scale + block, moments.v_scale + block},
        measure == nullptr ? nullptr : &of_block);
    if (measure != nullptr) *measure += of_block;
  }
}

void UpdateSgd(const Sgd& sgd, const float* g, int64_t n, float* w, float* m,
               UpdateMeasure* measure) {
  const Floats d;
  const FloatVec scale = hn::Set(d, static_cast<float>(sgd.gradient_scale));
  const FloatVec decay = hn::Set(d, static_cast<float>(sgd.weight_decay));
  const FloatVec momentum = hn::Set(d, static_cast<float>(sgd.momentum));
  const FloatVec rate = hn::Set(d, static_cast<float>(sgd.learning_rate));
  MeasuredUpdate(n, measure, [=, first = sgd.step == 1](int64_t i, auto part) HWY_ATTR {
    const FloatVec gradient = hn::Mul(scale, part.Load(g + i)), weight = part.Load(w + i);
    FloatVec direction = hn::MulAdd(decay, weight, gradient);
    if (m != nullptr && !first) direction = hn::MulAdd(momentum, part.Load(m + i), direction);
    if (m != nullptr) part.Store(direction, m + i);
    const FloatVec updated = hn::NegMulAdd(rate, direction, weight);
    part.Store(updated, w + i);
    return VectorUpdate{gradient, weight, updated};
  });
}

double SumSquares(const float* x, int64_t n) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> half;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto square = [=](int64_t i) HWY_ATTR {
    const auto value = hn::PromoteTo(d, hn::LoadU(half, x + i));
    return hn::Mul(value, value);
  };
  auto even = hn::Zero(d), odd = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    even = hn::Add(even, square(i));
    odd = hn::Add(odd, square(i + lanes));
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < n; ++i) sum += double{x[i]} * x[i];
  return sum;
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(UpdateAdamW);
HWY_EXPORT(UpdateAdamW8);
HWY_EXPORT(UpdateSgd);
HWY_EXPORT(SumSquares);

constexpr double kNanosecondsEach = 1;

// A block of fp32 elements, or several blocks of 8-bit moments. What a second loop over the block
// reads is still in the L1 cache.
constexpr int64_t kBlock = 1024;
static_assert(kBlock % kMomentBlock == 0);
constexpr int64_t Blocks(int64_t n) { return (n + kBlock - 1) / kBlock; }

// Calls work(begin, count) for every block of [0,n). A block belongs to one thread.
template <typename Work>
void ForEachBlock(const Context& context, int64_t n, const Work& work) {
  ParallelRows(context, Blocks(n), kNanosecondsEach * static_cast<double>(n),
               [&](const Context&, int64_t begin, int64_t end) {
                 for (int64_t b = begin; b < end; ++b) {
                   work(b * kBlock, std::min(kBlock, n - b * kBlock));
                 }
               });
}

// Calls update(begin, count, measure of the block or null) for every block, rounds it to bf16 if
// that is not null, and adds the measures up if `measure` is not null.
template <typename UpdateBlock>
void ForEachUpdate(const Context& context, int64_t n, const float* w, uint16_t* bf16,
                   UpdateMeasure* measure, const UpdateBlock& update) {
  OperationScratch scratch(context);
  UpdateMeasure* const measures =
      measure == nullptr ? nullptr : scratch.Get<UpdateMeasure>(Blocks(n));
  ForEachBlock(context, n, [&](int64_t i, int64_t count) {
    update(i, count, measure == nullptr ? nullptr : measures + i / kBlock);
    if (bf16 != nullptr) RoundToBF16(w + i, count, bf16 + i);
  });
  if (measure == nullptr) return;
  *measure = {};
  for (int64_t b = 0; b < Blocks(n); ++b) *measure += measures[b];
}

}  // namespace

UpdateMeasure& UpdateMeasure::operator+=(const UpdateMeasure& other) {
  relative_change += other.relative_change;
  guarded_change += other.guarded_change;
  change_squares += other.change_squares;
  value_squares += other.value_squares;
  gradient_squares += other.gradient_squares;
  return *this;
}

void Update(const Context& context, const AdamW& adamw, const float* g, int64_t n, float* w,
            float* m, float* v, uint16_t* bf16, UpdateMeasure* measure) {
  const AdamWFactors factors(adamw);
  ForEachUpdate(
      context, n, w, bf16, measure, [&](int64_t i, int64_t count, UpdateMeasure* of_block) {
        HWY_DYNAMIC_DISPATCH(UpdateAdamW)(factors, g + i, count, w + i, m + i, v + i, of_block);
      });
}

void Update(const Context& context, const Sgd& sgd, const float* g, int64_t n, float* w, float* m,
            uint16_t* bf16, UpdateMeasure* measure) {
  ForEachUpdate(context, n, w, bf16, measure,
                [&](int64_t i, int64_t count, UpdateMeasure* of_block) {
                  HWY_DYNAMIC_DISPATCH(UpdateSgd)
                  (sgd, g + i, count, w + i, m == nullptr ? m : m + i, of_block);
                });
}

void Update(const Context& context, const AdamW& adamw, const float* g, int64_t n, float* w,
            const Moments8& moments, uint16_t* bf16, UpdateMeasure* measure) {
  const AdamWFactors factors(adamw);
  ForEachUpdate(context, n, w, bf16, measure,
                [&](int64_t i, int64_t count, UpdateMeasure* of_block) {
                  const int64_t block = i / kMomentBlock;
                  HWY_DYNAMIC_DISPATCH(UpdateAdamW8)
                  (factors, g + i, count, w + i,
                   {moments.m + i, moments.v + i, moments.m_scale + block, moments.v_scale + block},
                   of_block);
                });
}

const float* MomentValues(bool is_signed) {
  return is_signed ? moment_code::kSignedValues.data() : moment_code::kUnsignedValues.data();
}

double SumOfSquares(const Context& context, const float* x, int64_t n) {
  OperationScratch scratch(context);
  double* const sums = scratch.Get<double>(Blocks(n));
  ForEachBlock(context, n, [&](int64_t i, int64_t count) {
    sums[i / kBlock] = HWY_DYNAMIC_DISPATCH(SumSquares)(x + i, count);
  });
  return std::accumulate(sums, sums + Blocks(n), 0.0);
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
