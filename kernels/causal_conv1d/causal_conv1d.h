// Depthwise causal convolution over time, followed by SiLU, with the state that carries it over
// from one run of tokens to the next.
//
//   y[t,e] = SiLU(bias[e] + Σ_{k<W} weight[k,e] · x[t-(W-1)+k, e])
//
// where x at negative t comes from the state. Source: Mamba-1's block (Quamba, arXiv 2410.13229).
//
// Letters: T rows (tokens of all runs, one run after the other), E channels, W taps.
#ifndef WHIPSNAKE_KERNELS_CAUSAL_CONV1D_CAUSAL_CONV1D_H_
#define WHIPSNAKE_KERNELS_CAUSAL_CONV1D_CAUSAL_CONV1D_H_

#include <cstdint>
#include <span>

#include "kernels/matrix.h"

namespace whipsnake::kernels {

// The rows [begin, begin + length) belong to one sequence, length >= 1.
// state[W-1, E]: the sequence's last W-1 inputs, oldest first, zeros at its start; advanced in
// place.
template <typename T>
struct BasicConvRun {
  int64_t begin = 0;
  int64_t length = 0;
  T* state = nullptr;
};
using ConvRun = BasicConvRun<float>;
using QuantizedConvRun = BasicConvRun<int8_t>;

// x[T,E] fp32 (the inputs before the convolution); weight[W,E] (the checkpoint's [E,1,W]
// transposed); bias[E] or null; y[T,E], may not alias x. 1 <= W <= 8. A row's result is
// bit-identical however its sequence is split into runs and whatever else is in the batch. Any
// thread; uses the current team (kernels/cpu/team.h).
void CausalConv1dSilu(std::span<const ConvRun> runs, MatrixView<const float> x, const float* weight,
                      const float* bias, int64_t width, MatrixView<float> y);

// The same from codes to codes, after Quamba (arXiv 2410.13229, section 4):
//
//   y[t,e] = ToCode(output_multiplier[e] · SiLU(bias[e] + multiplier[e] · Σ_k weight[k,e] ·
//   x[t-(W-1)+k, e]))
//
// The sum is exact, in int32. multiplier[E]: x's scale times the weight's; output_multiplier[E]: 1
// / y's scale; both belong to the channel. bias[E] in fp32, or null. The state holds codes of x. y
// may not alias x.
struct QuantizedConvOperands {
  MatrixView<const int8_t> x;                // [T,E]
  const int8_t* weight = nullptr;            // [W,E]
  const float* multiplier = nullptr;         // [E]
  const float* bias = nullptr;               // [E] or null
  int64_t width = 0;                         // W
  const float* output_multiplier = nullptr;  // [E]
  MatrixView<int8_t> y;                      // [T,E]
};
void CausalConv1dSilu(std::span<const QuantizedConvRun> runs,
                      const QuantizedConvOperands& operands);

namespace reference {
void CausalConv1dSilu(std::span<const QuantizedConvRun> runs,
                      const QuantizedConvOperands& operands);
void CausalConv1dSilu(std::span<const ConvRun> runs, MatrixView<const float> x, const float* weight,
                      const float* bias, int64_t width, MatrixView<float> y);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CAUSAL_CONV1D_CAUSAL_CONV1D_H_
