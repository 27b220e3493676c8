// Vector forms of exp and the activations, for kernels that inline them.
//
// The polynomials are minimax fits of the relative error (Lawson's iteration). Their coefficients
// are rounded to fp32 one at a time, and the remaining ones are fitted again after each. The stated
// errors are those of the polynomials in exact arithmetic.
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/activation/activation.h"

#if defined(WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_INL_H_
#undef WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_INL_H_
#else
#define WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// AtLeast and AtMost clamp x to a bound; NaN stays NaN. If an operand is NaN, x86's max and min
// return the second operand. On other targets Highway does not specify which operand they return.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V AtLeast(D d, float bound, V x) {
  const V low = hn::Set(d, bound);
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  return hn::Max(low, x);
#else
  return hn::IfThenElse(hn::Lt(x, low), low, x);
#endif
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V AtMost(D d, float bound, V x) {
  const V high = hn::Set(d, bound);
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  return hn::Min(high, x);
#else
  return hn::IfThenElse(hn::Gt(x, high), high, x);
#endif
}

// Adding this to v, |v| < 2^22, rounds v half to even and leaves the integer in the low bits of the
// sum.
inline constexpr float kRoundToInteger = 0x1.8p23f;

// c[0] x^(n-1) + ... + c[n-1].
template <class D, size_t n, class V = hn::Vec<D>>
HWY_INLINE V Horner(D d, V x, const float (&coefficients)[n]) {
  V sum = hn::Set(d, coefficients[0]);
#pragma GCC unroll 16
  for (size_t i = 1; i < n; ++i) sum = hn::MulAdd(sum, x, hn::Set(d, coefficients[i]));
  return sum;
}

// exp(x) = 2^n exp(r), |r| <= ln(2)/2. Returns zero below -87.7 and infinity above 88.3, where 2^n
// leaves the range of normal numbers.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  const hn::RebindToSigned<D> di;
  x = AtMost(d, 89.0f, AtLeast(d, -88.0f, x));  // n in [-127, 128]: scale from 0 to infinity
  const V magic = hn::Set(d, kRoundToInteger);
  const V shifted = hn::MulAdd(x, hn::Set(d, 0x1.715476p0f), magic);  // log2(e)
  const V n = hn::Sub(shifted, magic);
  // ln 2 in two parts (Cody and Waite). The first part has so few bits that its product with n is
  // exact.
  const V r =
      hn::MulAdd(n, hn::Set(d, -0x1.7f7d1cp-20f), hn::MulAdd(n, hn::Set(d, -0x1.62e4p-1f), x));
  // Relative error 3.2e-9.
  const V p = Horner(
      d, r, {0.00138200796f, 0.00836868398f, 0.0416682735f, 0.166665211f, 0.49999994f, 1, 1});
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
  const V scale = hn::BitCast(d, hn::Add(exponent, hn::BitCast(di, hn::Set(d, 1.0f))));
  return hn::Mul(p, scale);
}

// log(1 + u) for u in [0, 1], as u · P(u) with relative error 5.3e-9.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Log1pOfFraction(D d, V u) {
  return hn::Mul(
      u, Horner(d, u,
                {-0.00329107419f, 0.0200884603f, -0.0574604832f, 0.106613711f, -0.153449774f,
                 0.196921214f, -0.249580204f, 0.333304644f, -0.499999315f, 1}));
}

// max(x, 0) + log(1 + exp(-|x|)). The second term falls below half a unit in the last place of x
// well before 20, above which softplus is the identity by definition.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Softplus(D d, V x) {
  const V tail = Log1pOfFraction(d, Exp(d, hn::Neg(hn::Abs(x))));
  return hn::Add(AtLeast(d, 0.0f, x), tail);
}

// 1 / (1 + exp(-x)).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, Exp(d, hn::Neg(x))));
}

// x / (1 + exp(-x)). For x = -infinity the quotient would be NaN, so x is clamped to a finite bound
// at which the result is already zero. The functions below clamp x for the same reason.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Silu(D d, V x) {
  x = AtLeast(d, -89.0f, x);
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), Exp(d, hn::Neg(x))));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V QuickGelu(D d, V x) {
  x = AtLeast(d, -89.0f, x);
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), Exp(d, hn::Mul(x, hn::Set(d, -1.702f)))));
}

// -2 √(2/π) (x + 0.044715 x³): gelu_new is x σ(v), and this is -v.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V NegatedGeluNewGate(D d, V x) {
  constexpr float kLinear = -1.5957691216f, kCubic = -0.0713548163f;
  return hn::Mul(x, hn::MulAdd(hn::Mul(x, x), hn::Set(d, kCubic), hn::Set(d, kLinear)));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V GeluNew(D d, V x) {
  x = AtLeast(d, -16.0f, x);
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), Exp(d, NegatedGeluNewGate(d, x))));
}

// exp(-x²/2) for |x| <= 16; NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Bell(D d, V x) {
  return Exp(d, hn::Mul(hn::Mul(x, x), hn::Set(d, -0.5f)));
}

// Clamps x to [-16, 16]. exp(-x²/2) is 0 in fp32 at both bounds.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V WithinBell(D d, V x) {
  return AtMost(d, 16.0f, AtLeast(d, -16.0f, x));
}

// Φ(x), given bell = exp(-x²/2). Computes the tail by a rational approximation of the error
// function (Abramowitz & Stegun, Handbook of Mathematical Functions, 7.1.26) with an error of
// 1.5e-7.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V NormalDistribution(D d, V x, V bell) {
  const V one = hn::Set(d, 1.0f);
  constexpr float kP = 0.3275911f * 0.70710678f;  // applies to |x| / √2
  const V t = hn::Div(one, hn::MulAdd(hn::Abs(x), hn::Set(d, kP), one));
  const V tail = hn::Mul(hn::Mul(t, bell),
                         Horner(d, t,
                                {0.5f * 1.061405429f, 0.5f * -1.453152027f, 0.5f * 1.421413741f,
                                 0.5f * -0.284496736f, 0.5f * 0.254829592f}));
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Gelu(D d, V x) {
  x = AtLeast(d, -16.0f, x);
  return hn::Mul(x, NormalDistribution(d, x, Bell(d, AtMost(d, 16.0f, x))));
}

// tanh(log(1 + n)) = w / (w + 2) with w = n (n + 2) and n = exp(x). At x = 20 the quotient is
// already 1 in fp32, and w is still finite.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V MishWeight(D d, V n) {
  return hn::Mul(n, hn::Add(n, hn::Set(d, 2.0f)));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Mish(D d, V x) {
  x = AtLeast(d, -89.0f, x);
  const V w = MishWeight(d, Exp(d, AtMost(d, 20.0f, x)));
  return hn::Mul(x, hn::Div(w, hn::Add(w, hn::Set(d, 2.0f))));
}

// max(0, x) + ε x exp(-x²/2). ε is multiplied last: the product of the other factors is at most 1,
// whereas a large ε times x may overflow.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V CRRelu(D d, V x, V epsilon) {
  const V within = WithinBell(d, x);
  return hn::MulAdd(hn::Mul(within, Bell(d, within)), epsilon, AtLeast(d, 0.0f, x));
}

// Applies the activation kKind. Only CRReLU uses epsilon.
template <Activation kKind, class D, class V = hn::Vec<D>>
HWY_INLINE V ApplyActivation(D d, V x, V epsilon) {
  if constexpr (kKind == Activation::kRelu) return AtLeast(d, 0.0f, x);
  if constexpr (kKind == Activation::kLeakyRelu) {
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), x, hn::Mul(x, hn::Set(d, 0.01f)));
  }
  if constexpr (kKind == Activation::kGelu) return Gelu(d, x);
  if constexpr (kKind == Activation::kGeluNew) return GeluNew(d, x);
  if constexpr (kKind == Activation::kQuickGelu) return QuickGelu(d, x);
  if constexpr (kKind == Activation::kSilu) return Silu(d, x);
  if constexpr (kKind == Activation::kMish) return Mish(d, x);
  if constexpr (kKind == Activation::kCRRelu) return CRRelu(d, x, epsilon);
  return x;
}

// d/dx (x σ(v)), given v_slope = dv/dx.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V GatedSlope(D d, V x, V v, V v_slope) {
  const V s = Sigmoid(d, v);
  return hn::MulAdd(hn::Mul(x, v_slope), hn::Mul(s, hn::Sub(hn::Set(d, 1.0f), s)), s);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V MishSlope(D d, V x) {
  const V one = hn::Set(d, 1.0f), two = hn::Set(d, 2.0f);
  const V n = Exp(d, x), w = MishWeight(d, n);
  const V inverse = hn::Div(one, hn::Add(w, two));
  const V tanh = hn::Mul(w, inverse);
  // 1 - tanh² = 4 (w + 1) / (w + 2)²
  const V rest = hn::Mul(hn::Mul(hn::Set(d, 4.0f), hn::Add(w, one)), hn::Mul(inverse, inverse));
  const V sigmoid = hn::Div(n, hn::Add(n, one));
  return hn::MulAdd(hn::Mul(x, sigmoid), rest, tanh);
}

// Returns 1 where x > 0, else `below`; NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V StepFrom(D d, V x, float below) {
  const V step = hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Set(d, 1.0f), hn::Set(d, below));
  return hn::IfThenElse(hn::Eq(x, x), step, x);
}

// The derivative of ApplyActivation(). In fp32 the smooth derivatives are constant outside the
// bounds to which x is clamped.
template <Activation kKind, class D, class V = hn::Vec<D>>
HWY_INLINE V ActivationSlope(D d, V x, V epsilon) {
  const V one = hn::Set(d, 1.0f);
  if constexpr (kKind == Activation::kRelu) return StepFrom(d, x, 0.0f);
  if constexpr (kKind == Activation::kLeakyRelu) return StepFrom(d, x, 0.01f);
  if constexpr (kKind == Activation::kGelu) {
    x = WithinBell(d, x);
    const V bell = Bell(d, x);
    return hn::MulAdd(hn::Mul(x, hn::Set(d, 0.39894228f)), bell, NormalDistribution(d, x, bell));
  }
  if constexpr (kKind == Activation::kGeluNew) {
    x = WithinBell(d, x);
    const V slope =
        hn::MulAdd(hn::Mul(x, x), hn::Set(d, 3 * 0.0713548163f), hn::Set(d, 1.5957691216f));
    return GatedSlope(d, x, hn::Neg(NegatedGeluNewGate(d, x)), slope);
  }
  if constexpr (kKind == Activation::kQuickGelu) {
    x = AtMost(d, 89.0f, AtLeast(d, -89.0f, x));
    return GatedSlope(d, x, hn::Mul(x, hn::Set(d, 1.702f)), hn::Set(d, 1.702f));
  }
  if constexpr (kKind == Activation::kSilu) {
    x = AtMost(d, 89.0f, AtLeast(d, -89.0f, x));
    return GatedSlope(d, x, x, one);
  }
  if constexpr (kKind == Activation::kMish) {
    return MishSlope(d, AtMost(d, 20.0f, AtLeast(d, -89.0f, x)));
  }
  if constexpr (kKind == Activation::kCRRelu) {
    const V within = WithinBell(d, x);
    const V slope = hn::NegMulAdd(within, within, one);
    return hn::MulAdd(hn::Mul(slope, Bell(d, within)), epsilon, StepFrom(d, x, 0.0f));
  }
  return hn::IfThenElse(hn::Eq(x, x), one, x);
}

template <Activation kKind>
using ActivationKind = std::integral_constant<Activation, kKind>;

// Calls body(ActivationKind<kind>()), so that loops in `body` do not branch on the kind.
template <class Body>
HWY_INLINE void WithActivation(Activation kind, const Body& body) {
  switch (kind) {
    case Activation::kIdentity:
      return body(ActivationKind<Activation::kIdentity>());
    case Activation::kRelu:
      return body(ActivationKind<Activation::kRelu>());
    case Activation::kLeakyRelu:
      return body(ActivationKind<Activation::kLeakyRelu>());
    case Activation::kGelu:
      return body(ActivationKind<Activation::kGelu>());
    case Activation::kGeluNew:
      return body(ActivationKind<Activation::kGeluNew>());
    case Activation::kQuickGelu:
      return body(ActivationKind<Activation::kQuickGelu>());
    case Activation::kSilu:
      return body(ActivationKind<Activation::kSilu>());
    case Activation::kMish:
      return body(ActivationKind<Activation::kMish>());
    case Activation::kCRRelu:
      return body(ActivationKind<Activation::kCRRelu>());
  }
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
