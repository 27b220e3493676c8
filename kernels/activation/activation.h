// Elementwise activations.
//
//   relu(x)       = max(0, x)
//   leaky_relu(x) = x for x > 0, else x / 100
//   gelu(x)       = x Φ(x), Φ the normal distribution           (arXiv 1606.08415)
//   gelu_new(x)   = x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))    (the same, approximated)
//   quick_gelu(x) = x σ(1.702 x)                                (the same, approximated)
//   silu(x)       = x σ(x)
//   mish(x)       = x tanh(softplus(x))                         (arXiv 1908.08681)
//   crrelu(x)     = max(0, x) + ε k(x),  k(x) = x exp(-x²/2)    (arXiv 2405.12954)
//   softplus(x)   = log(1 + exp(x)), the identity above 20 as in PyTorch
//
// The vector forms that other kernels inline are in kernels/activation/activation-inl.h.
#ifndef WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_H_
#define WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_H_

#include <cstdint>

#include "kernels/context.h"

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
  float epsilon = 0;  // for CRReLU only: any finite number, positive or negative
};

// y[i] = f(x[i]); x[n] and y[n] are fp32, and y may alias x. The error is below 4e-7 |f(x)| for
// SiLU and softplus, and below 4e-7 max(1, |x|) for the others, plus 4e-7 |ε| for CRReLU (results
// below 1e-36 in magnitude may be flushed to zero). Infinities give the limits of f, and NaN stays
// NaN. CRReLU with ε = 0 equals ReLU bit for bit. Each y[i] depends on x[i] and f alone. Callable
// from any thread; runs on the context's team. The same holds for the other functions that process
// n elements.
void Activate(const Context& context, ActivationFunction f, const float* x, int64_t n, float* y);
void Softplus(const Context& context, const float* x, int64_t n, float* y);

// The same for bf16: computed in fp32 and rounded once.
void Activate(const Context& context, ActivationFunction f, const uint16_t* x, int64_t n,
              uint16_t* y);

// gx[i] = g[i] f'(x[i]); gx may alias x or g. At 0, functions with a kink use the slope from the
// left: 0 for ReLU, 1/100 for leaky ReLU and ε for CRReLU. Returns CRReLU's gradient for ε, Σ g[i]
// k(x[i]), with an error below 1e-6 Σ |g k|; returns 0 for the other functions. The results do not
// depend on the number of threads, and the returned gradient does not depend on ε, which may be 0.
double ActivateBackward(const Context& context, ActivationFunction f, const float* x,
                        const float* g, int64_t n, float* gx);

// Makes a table that applies f to codes with static scales: table[code + 128] = ToCode(f(code ·
// from) / to), where `from` and `to` are the scales of x and y. Runs on the calling thread and
// writes host memory, as part of loading a model.
inline constexpr int kCodes = 256;
void MakeCodeTable(ActivationFunction f, float from, float to, int8_t table[kCodes]);
// y[i] = table[x[i] + 128]; y may alias x.
void ApplyCodeTable(const Context& context, const int8_t* table, const int8_t* x, int64_t n,
                    int8_t* y);
// Returns whether the table of CRReLU has code 0 for every negative code, as ReLU's has. That is so
// if |ε| k(1) = 0.607 |ε| is less than half of `to`. (Above zero the correction may still change
// the code to which a value rounds.)
bool EpsilonVanishes(float epsilon, float from, float to);

namespace reference {
void Activate(ActivationFunction f, const float* x, int64_t n, float* y);
void Softplus(const float* x, int64_t n, float* y);
double ActivateBackward(ActivationFunction f, const float* x, const float* g, int64_t n, float* gx);
// In fp64, for tests of accuracy and derivatives.
double Value(ActivationFunction f, double x);
double Slope(ActivationFunction f, double x);
double Correction(double x);  // k(x) of CRReLU
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_H_
