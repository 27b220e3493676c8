// Elementwise activations.
//
//   SiLU(x)     = x / (1 + exp(-x))
//   softplus(x) = log(1 + exp(x)), the identity above 20 as PyTorch has it
//
// The vector forms that other kernels inline are in kernels/activation/activation-inl.h.
#ifndef WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_H_
#define WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_H_

#include <cstdint>

namespace whipsnake::kernels {

// x[n] and y[n] fp32, y may alias x. Relative error below 4e-7 over all finite x (results below
// 1e-36 in magnitude may be flushed to zero); infinities give their limits and NaN stays NaN. Any
// thread; uses the current team (kernels/cpu/team.h).
void Silu(const float* x, int64_t n, float* y);
void Softplus(const float* x, int64_t n, float* y);

namespace reference {
void Silu(const float* x, int64_t n, float* y);
void Softplus(const float* x, int64_t n, float* y);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_H_
