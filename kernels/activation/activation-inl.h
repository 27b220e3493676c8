// Vector forms of exp, softplus and SiLU for whichever kernel wants to inline them.
//
// The polynomials are least-maximum fits of the relative error (Lawson's iteration), coefficients
// rounded to fp32 one after the other with the rest fitted again; the errors named are of the exact
// polynomial.
#include "hwy/highway.h"

#if defined(WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_INL_H_
#undef WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_INL_H_
#else
#define WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// max and min against a bound, where NaN stays NaN. x86's instructions return their second operand
// when either is NaN; elsewhere Highway leaves open which operand that is.
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

// Adding it to v rounds v to an integer in the sum's low bits: |v| < 2^22, half to even.
inline constexpr float kRoundToInteger = 0x1.8p23f;

// c[0] x^(n-1) + ... + c[n-1].
template <class D, size_t n, class V = hn::Vec<D>>
HWY_INLINE V Horner(D d, V x, const float (&coefficients)[n]) {
  V sum = hn::Set(d, coefficients[0]);
#pragma GCC unroll 16
  for (size_t i = 1; i < n; ++i) sum = hn::MulAdd(sum, x, hn::Set(d, coefficients[i]));
  return sum;
}

// exp(x) = 2^n exp(r), |r| <= ln(2)/2. Zero below -87.7 and infinity above 88.3, where the
// exponents of the subnormal numbers begin and the finite ones end.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  const hn::RebindToSigned<D> di;
  x = AtMost(d, 89.0f, AtLeast(d, -88.0f, x));  // n in [-127, 128]: the scale is 0 ... infinity
  const V magic = hn::Set(d, kRoundToInteger);
  const V shifted = hn::MulAdd(x, hn::Set(d, 0x1.715476p0f), magic);  // log2(e)
  const V n = hn::Sub(shifted, magic);
  // ln 2 in two parts (Cody and Waite); the first has so few bits that its product with n is exact.
  const V r =
      hn::MulAdd(n, hn::Set(d, -0x1.7f7d1cp-20f), hn::MulAdd(n, hn::Set(d, -0x1.62e4p-1f), x));
  // Relative error 3.2e-9.
  const V p = Horner(
      d, r, {0.00138200796f, 0.00836868398f, 0.0416682735f, 0.166665211f, 0.49999994f, 1, 1});
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
  const V scale = hn::BitCast(d, hn::Add(exponent, hn::BitCast(di, hn::Set(d, 1.0f))));
  return hn::Mul(p, scale);
}

// log(1 + u) for u in [0, 1], u · P(u) with relative error 5.3e-9.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Log1pOfFraction(D d, V u) {
  return hn::Mul(
      u, Horner(d, u,
                {-0.00329107419f, 0.0200884603f, -0.0574604832f, 0.106613711f, -0.153449774f,
                 0.196921214f, -0.249580204f, 0.333304644f, -0.499999315f, 1}));
}

// max(x, 0) + log(1 + exp(-|x|)): the second term is below half a unit in the last place of x long
// before the threshold of 20 above which softplus is the identity by definition.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Softplus(D d, V x) {
  const V tail = Log1pOfFraction(d, Exp(d, hn::Neg(hn::Abs(x))));
  return hn::Add(AtLeast(d, 0.0f, x), tail);
}

// x / (1 + exp(-x)). The bound makes -infinity, where the quotient would be NaN, a number whose
// result is zero like that of all its neighbours.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Silu(D d, V x) {
  x = AtLeast(d, -89.0f, x);
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), Exp(d, hn::Neg(x))));
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
