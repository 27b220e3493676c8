#include <algorithm>

#include "kernels/softmax/softmax.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/softmax/softmax_cpu.cc"
#include "hwy/foreach_target.h"
// Must follow foreach_target.h, which includes this file once per target.
#include "hwy/highway.h"
#include "kernels/activation/activation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Computes the weights of [begin, end) and returns their sum.
float WeighBlock(const float* scores, int64_t begin, int64_t end, float largest, float scale,
                 float* weights) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = hn::Lanes(d);
  const auto shift = hn::Set(d, largest), factor = hn::Set(d, scale);
  auto sum = hn::Zero(d);
  int64_t i = begin;
  for (; i + lanes <= end; i += lanes) {
    const auto weight = Exp(d, hn::Mul(hn::Sub(hn::LoadU(d, scores + i), shift), factor));
    hn::StoreU(weight, d, weights + i);
    sum = hn::Add(sum, weight);
  }
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  const hn::CappedTag<float, 1> one;
  for (; i < end; ++i) {
    const auto score = hn::Set(one, scores[i]);
    weights[i] =
        hn::GetLane(Exp(one, hn::Mul(hn::Sub(score, hn::Set(one, largest)), hn::Set(one, scale))));
    total += weights[i];
  }
  return total;
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {

HWY_EXPORT(WeighBlock);

void SoftmaxWeights(const Context&, const float* scores, int64_t n, float largest, float scale,
                    float* weights, float* sums) {
  for (int64_t begin = 0; begin < n; begin += kSoftmaxBlock) {
    sums[begin / kSoftmaxBlock] = HWY_DYNAMIC_DISPATCH(WeighBlock)(
        scores, begin, std::min(begin + kSoftmaxBlock, n), largest, scale, weights);
  }
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
