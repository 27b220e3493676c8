// Depthwise causal convolution over time, followed by SiLU, with a state that carries the last
// inputs from one run of tokens to the next.
//
//   y[t,e] = SiLU(bias[e] + Σ_{k<W} weight[k,e] · x[t-(W-1)+k, e])
//
// where x before the run's first row comes from the state. Source: Mamba-1's block (Quamba, arXiv
// 2410.13229).
//
// Notation: T rows (tokens of all runs, one run after the other), E channels, W taps.
#ifndef WHIPSNAKE_KERNELS_CAUSAL_CONV1D_CAUSAL_CONV1D_H_
#define WHIPSNAKE_KERNELS_CAUSAL_CONV1D_CAUSAL_CONV1D_H_

#include <cstdint>
#include <span>

#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// The rows [begin, begin + length) belong to one sequence, length >= 1. state[W-1, E] holds the
// sequence's last W-1 inputs, oldest first: zeros at its start, and updated in place. Does not own
// the state.
template <typename T>
struct BasicConvRun {
  int64_t begin = 0;
  int64_t length = 0;
  T* state = nullptr;
};
using ConvRun = BasicConvRun<float>;
using QuantizedConvRun = BasicConvRun<int8_t>;

// x[T,E] in fp32 (the inputs of the convolution); weight[W,E] (the checkpoint's [E,1,W]
// transposed); bias[E] or null; y[T,E], which may not alias x. `width` is W, 1 <= W <= 8. A row's
// result does not depend, bit for bit, on how its sequence is split into runs or on the rest of the
// batch. Callable from any thread; runs on the context's team.
void CausalConv1dSilu(const Context& context, std::span<const ConvRun> runs,
                      MatrixView<const float> x, const float* weight, const float* bias,
                      int64_t width, MatrixView<float> y);

// The derivatives of y for whole sequences, which start from a state of zeros. With g = ∂L/∂y, v
// the argument of SiLU, which is computed again from x, and s[t,e] = g[t,e] · SiLU'(v[t,e]):
//
//   gx[t,e] = Σ_{k<W} weight[k,e] · s[t+(W-1)-k, e]        (within the sequence)
//   gweight[k,e] += Σ_t s[t,e] · x[t-(W-1)+k, e];  gbias[e] += Σ_t s[t,e]
//
// All fp32. gx may not alias x or g.
struct CausalConv1dGradients {
  MatrixView<float> x;      // [T,E], overwritten
  float* weight = nullptr;  // [W,E], added to; null if it is not wanted
  float* bias = nullptr;    // [E], added to; null if it is not wanted
};
// Threads split the channels only, so no result depends on their number, bit for bit. The sequences
// are disjoint; rows of no sequence are left as they are. Callable from any thread; runs on the
// context's team.
void CausalConv1dSiluBackward(const Context& context, std::span<const RowRange> sequences,
                              MatrixView<const float> x, const float* weight, const float* bias,
                              int64_t width, MatrixView<const float> g,
                              const CausalConv1dGradients& gradients);

// CausalConv1dSilu from codes to codes, after Quamba (arXiv 2410.13229, section 4):
//
//   v[t,e] = bias[e] + multiplier[e] · Σ_{k<W} weight[k,e] · x[t-(W-1)+k, e]
//   y[t,e] = ToCode(output_multiplier[e] · SiLU(v[t,e]))
//
// The sum is exact, in int32. multiplier[E] is x's scale times the weight's scale, and
// output_multiplier[E] is 1 / y's scale; both are per channel. bias[E] is fp32, or null. The state
// holds codes of x. y may not alias x.
struct QuantizedConvOperands {
  MatrixView<const int8_t> x;                // [T,E]
  const int8_t* weight = nullptr;            // [W,E]
  const float* multiplier = nullptr;         // [E]
  const float* bias = nullptr;               // [E] or null
  int64_t width = 0;                         // W
  const float* output_multiplier = nullptr;  // [E]
  MatrixView<int8_t> y;                      // [T,E]
};
void CausalConv1dSilu(const Context& context, std::span<const QuantizedConvRun> runs,
                      const QuantizedConvOperands& operands);

namespace reference {
void CausalConv1dSilu(std::span<const QuantizedConvRun> runs,
                      const QuantizedConvOperands& operands);
void CausalConv1dSilu(std::span<const ConvRun> runs, MatrixView<const float> x, const float* weight,
                      const float* bias, int64_t width, MatrixView<float> y);
// Computes in fp64 and rounds once.
void CausalConv1dSiluBackward(std::span<const RowRange> sequences, MatrixView<const float> x,
                              const float* weight, const float* bias, int64_t width,
                              MatrixView<const float> g, const CausalConv1dGradients& gradients);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CAUSAL_CONV1D_CAUSAL_CONV1D_H_
