// The cross-entropy of a softmax with given targets, and its derivative.
//
//   p[r] = softmax(logits[r]);  w = (1 - smoothing) onehot(target[r]) + smoothing / V
//   loss[r] = -Σ_v w[v] log p[r,v];   ∂loss[r]/∂logits[r] = p[r] - w
//
// Source of the smoothing: Szegedy et al., arXiv 1512.00567, section 7. With smoothing = 0 the loss
// is -log p[r, target[r]].
//
// Notation: R rows, V classes (tokens of a vocabulary, or labels).
#ifndef WHIPSNAKE_KERNELS_CROSS_ENTROPY_CROSS_ENTROPY_H_
#define WHIPSNAKE_KERNELS_CROSS_ENTROPY_CROSS_ENTROPY_H_

#include <cstdint>
#include <span>

#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// The target of a row that is ignored: its loss and its derivative are 0.
inline constexpr int32_t kIgnoredTarget = -100;

struct CrossEntropyOperands {
  std::span<const int32_t> targets;  // [R], each in [0,V) or kIgnoredTarget
  float smoothing = 0;               // [0,1)
  float* losses = nullptr;           // [R], in nats
  int32_t* predictions = nullptr;    // [R]: the first class with the largest logit; or null
};

// logits[R,V] in fp32, V >= 1. The sums of exponentials and of logits are taken over independent
// lanes in fp32 within blocks of a row, and in fp64 over blocks. The error of a loss is below
// 1e-6 (1 + its magnitude + the largest magnitude of its row's logits). -infinity is a class that
// cannot be: its loss is infinite, also as a part of a smoothed loss. A NaN or +infinity makes its
// row NaN and its prediction any class. A row depends on its own logits alone, so results do not
// depend on the number of threads, bit for bit. Callable from any thread; runs on the context's
// team. R = 0 is allowed.
void CrossEntropy(const Context& context, MatrixView<const float> logits,
                  const CrossEntropyOperands& operands);

// The same, and logits[r] := factors[r] · ∂loss[r]/∂logits[r], which is 0 for an ignored row.
// factors[R] are finite.
void CrossEntropyWithGradient(const Context& context, MatrixView<float> logits,
                              const float* factors, const CrossEntropyOperands& operands);

namespace reference {
// In fp64, rounded once.
void CrossEntropy(MatrixView<const float> logits, const CrossEntropyOperands& operands);
void CrossEntropyWithGradient(MatrixView<float> logits, const float* factors,
                              const CrossEntropyOperands& operands);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CROSS_ENTROPY_CROSS_ENTROPY_H_
