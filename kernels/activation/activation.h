// Elementwise activations.
//
//   relu(x)       = max(0, x)
//   leaky_relu(x) = x for x > 0, x / 100 below
//   gelu(x)       = x Φ(x), Φ the normal distribution           (arXiv 1606.08415)
//   gelu_new(x)   = x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))    (the same, approximated)
//   quick_gelu(x) = x σ(1.702 x)                                (the same, approximated)
//   silu(x)       = x σ(x)
//   mish(x)       = x tanh(softplus(x))                         (arXiv 1908.08681)
//   crrelu(x)     = max(0, x) + ε k(x),  k(x) = x exp(-x²/2)    (arXiv 2405.12954)
//   softplus(x)   = log(1 + exp(x)), the identity above 20 as PyTorch has it
//
// The vector forms that other kernels inline are in kernels/activation/activation-inl.h.
#ifndef WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_H_
#define WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_H_

#include <cstdint>

namespace whipsnake::kernels {

enum class Activation {
  kIdentity,
  kRelu,
  kLeakyRelu,
  kGelu,
  kGeluNew,
  kQuickGelu,
  kSilu,
  kMish,
  kCRRelu
};

struct ActivationFunction {
  Activation kind = Activation::kIdentity;
  float epsilon = 0;  // of CRReLU: any finite number, of either sign
};

// y[i] = f(x[i]), x[n] and y[n] fp32; y may alias x. The error is below 4e-7 of |f(x)| for SiLU and
// softplus, of max(1, |x|) for the others, and CRReLU's 4e-7 of |ε| (results below 1e-36 in
// magnitude may be flushed to zero). Infinities give their limits and NaN stays NaN. CRReLU with
// ε = 0 is ReLU, bit for bit. A number's result depends on nothing else. Any thread; uses the
// current team (kernels/cpu/team.h), as do the others below.
void Activate(ActivationFunction f, const float* x, int64_t n, float* y);
void Softplus(const float* x, int64_t n, float* y);

// The same of bf16: computed in fp32 and rounded once.
void Activate(ActivationFunction f, const uint16_t* x, int64_t n, uint16_t* y);

// gx[i] = g[i] f'(x[i]); gx may alias x or g. The slopes at 0 are those from the left but for
// smooth functions' own: 0, 1/100 and, for CRReLU, ε. Returns CRReLU's gradient for ε, Σ g[i]
// k(x[i]), whose error is below 1e-6 Σ |g k|; 0 for the others. Depends neither on the number of
// threads nor, where it is 0, on ε.
double ActivateBackward(ActivationFunction f, const float* x, const float* g, int64_t n, float* gx);

// f between codes, for static scales: table[code + 128] = ToCode(f(code · from) / to).
inline constexpr int kCodes = 256;
void MakeCodeTable(ActivationFunction f, float from, float to, int8_t table[kCodes]);
// y[i] = table[x[i] + 128]; y may alias x.
void ApplyCodeTable(const int8_t* table, const int8_t* x, int64_t n, int8_t* y);
// Whether nothing of CRReLU's correction is left below zero in the table, where ReLU is 0: so it is
// where |ε| k(1) = 0.607 |ε| is less than half of `to`. (Above zero the correction may still move a
// sum over the middle of two codes.)
bool EpsilonVanishes(float epsilon, float from, float to);

namespace reference {
void Activate(ActivationFunction f, const float* x, int64_t n, float* y);
void Softplus(const float* x, int64_t n, float* y);
double ActivateBackward(ActivationFunction f, const float* x, const float* g, int64_t n, float* gx);
// In fp64, for tests of accuracy and of the derivatives.
double Value(ActivationFunction f, double x);
double Slope(ActivationFunction f, double x);
double Correction(double x);  // k
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_H_
