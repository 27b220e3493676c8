// The numerators of a softmax, and the partial sums of its denominator.
#ifndef WHIPSNAKE_KERNELS_SOFTMAX_SOFTMAX_H_
#define WHIPSNAKE_KERNELS_SOFTMAX_SOFTMAX_H_

#include <cstdint>

#include "kernels/context.h"

namespace whipsnake::kernels {

// The number of scores in each partial sum.
inline constexpr int64_t kSoftmaxBlock = 1024;

// For scores[n] in fp32, each finite and at most `largest`, or -infinity, and scale > 0:
//
//   weights[i] = exp((scores[i] - largest) · scale), 0 for -infinity
//   sums[j]    = Σ of the weights in [j · kSoftmaxBlock, (j + 1) · kSoftmaxBlock)
//
// The relative error is below 4e-7 for weights (weights below 1e-36 may be 0) and below 2e-6 for
// sums. weights may alias scores. sums has ceil(n / kSoftmaxBlock) elements. Callable from any
// thread; runs on the calling thread alone, whatever the context's team, because each sampler has
// one row and there are many samplers.
void SoftmaxWeights(const Context& context, const float* scores, int64_t n, float largest,
                    float scale, float* weights, float* sums);

namespace reference {
void SoftmaxWeights(const float* scores, int64_t n, float largest, float scale, float* weights,
                    float* sums);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_SOFTMAX_SOFTMAX_H_
