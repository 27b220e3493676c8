// The weights of a softmax: its numerators, and what their sum is made of.
#ifndef WHIPSNAKE_KERNELS_SOFTMAX_SOFTMAX_H_
#define WHIPSNAKE_KERNELS_SOFTMAX_SOFTMAX_H_

#include <cstdint>

namespace whipsnake::kernels {

// Scores that share a sum.
inline constexpr int64_t kSoftmaxBlock = 1024;

// For scores[n] fp32 that are finite and at most `largest`, or -infinity, and scale > 0:
//
//   weights[i] = exp((scores[i] - largest) · scale), 0 for -infinity
//   sums[j]    = Σ of the weights in [j · kSoftmaxBlock, (j + 1) · kSoftmaxBlock)
//
// Relative error below 4e-7 (of the weights; what is below 1e-36 may be 0) and 2e-6 (of the sums).
// weights may alias scores; sums has one place for each block that has begun. Any thread, on its
// own: a sampler has one row, and there are many samplers.
void SoftmaxWeights(const float* scores, int64_t n, float largest, float scale, float* weights,
                    float* sums);

namespace reference {
void SoftmaxWeights(const float* scores, int64_t n, float largest, float scale, float* weights,
                    float* sums);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_SOFTMAX_SOFTMAX_H_
