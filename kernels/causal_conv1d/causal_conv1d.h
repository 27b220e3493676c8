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
struct ConvRun {
  int64_t begin = 0;
  int64_t length = 0;
  float* state = nullptr;
};

// x[T,E] fp32 (the inputs before the convolution); weight[W,E] (the checkpoint's [E,1,W]
// transposed); bias[E] or null; y[T,E], may not alias x. 1 <= W <= 8. A row's result is
// bit-identical however its sequence is split into runs and whatever else is in the batch. Any
// thread; uses the current team (kernels/cpu/team.h).
void CausalConv1dSilu(std::span<const ConvRun> runs, MatrixView<const float> x, const float* weight,
                      const float* bias, int64_t width, MatrixView<float> y);

namespace reference {
void CausalConv1dSilu(std::span<const ConvRun> runs, MatrixView<const float> x, const float* weight,
                      const float* bias, int64_t width, MatrixView<float> y);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CAUSAL_CONV1D_CAUSAL_CONV1D_H_
