// RMSNorm over a residual stream, fused with the preceding addition.
//
//   r[t] += h[t]
//   y[t] = gamma ∘ r[t] / sqrt(mean(r[t]²) + epsilon)
//
// Sources: Mamba-1's block (Quamba, arXiv 2410.13229, section 3); Zhang & Sennrich, arXiv
// 1910.07467.
//
// Notation: T rows (tokens), D columns (d_model).
#ifndef WHIPSNAKE_KERNELS_RMS_NORM_RMS_NORM_H_
#define WHIPSNAKE_KERNELS_RMS_NORM_RMS_NORM_H_

#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// h[T,D], or empty to add nothing; residual r[T,D], updated in place; gamma[D]; y[T,D]. y may not
// alias residual; h may alias y. All fp32. The sum of squares is accumulated in fp32 over
// independent lanes, always in the same order, so a row's result does not depend on T. Callable
// from any thread; runs on the context's team. T = 0 is allowed.
void ResidualRmsNorm(const Context& context, MatrixView<const float> h, MatrixView<float> residual,
                     const float* gamma, float epsilon, MatrixView<float> y);

// The same with y in int8: y[t] = ToCode(gamma ∘ (r[t] · rstd)). The caller has divided gamma by
// y's scale. The residual and rstd = 1 / sqrt(mean(r²) + epsilon) equal those of the fp32 form bit
// for bit.
void ResidualRmsNorm(const Context& context, MatrixView<const float> h, MatrixView<float> residual,
                     const float* gamma, float epsilon, MatrixView<int8_t> y);

// The derivatives of y. x = r + h is the residual after the addition, g = ∂L/∂y. With
// rstd = 1 / sqrt(mean(x²) + epsilon), x̂ = x · rstd and k = g ∘ gamma:
//
//   gx += rstd · (k - x̂ · mean(k ∘ x̂));  ggamma += Σ_t g[t] ∘ x̂[t]
//
// rstd is computed again from x. gx[T,D] may not alias x or g; ggamma[D], or null if it is not
// wanted. All fp32. Row t of gx depends on row t alone. The sum over rows is taken in fixed groups,
// so no result depends on the number of threads, bit for bit. Callable from any thread; runs on the
// context's team. T = 0 is allowed.
void RmsNormBackward(const Context& context, MatrixView<const float> x, const float* gamma,
                     float epsilon, MatrixView<const float> g, MatrixView<float> gx, float* ggamma);

// The same from a stored x̂, which may be an approximation: the backward pass of a layer that keeps
// x̂ in a compressed form. normalized[T,D] is x̂ and rstd[T] that of each row; gx may alias neither
// normalized nor g. With the x̂ and rstd of RmsNormalize() the results equal those of
// RmsNormBackward(), apart from rounding.
void NormalizedRmsNormBackward(const Context& context, MatrixView<const float> normalized,
                               const float* rstd, const float* gamma, MatrixView<const float> g,
                               MatrixView<float> gx, float* ggamma);
// Computes x̂ and rstd; normalized may alias x. They equal those of RmsNormBackward() bit for bit.
void RmsNormalize(const Context& context, MatrixView<const float> x, float epsilon,
                  MatrixView<float> normalized, float* rstd);

namespace reference {
void ResidualRmsNorm(MatrixView<const float> h, MatrixView<float> residual, const float* gamma,
                     float epsilon, MatrixView<float> y);
void ResidualRmsNorm(MatrixView<const float> h, MatrixView<float> residual, const float* gamma,
                     float epsilon, MatrixView<int8_t> y);
// The functions below compute in fp64 and round once.
void RmsNormBackward(MatrixView<const float> x, const float* gamma, float epsilon,
                     MatrixView<const float> g, MatrixView<float> gx, float* ggamma);
void NormalizedRmsNormBackward(MatrixView<const float> normalized, const float* rstd,
                               const float* gamma, MatrixView<const float> g, MatrixView<float> gx,
                               float* ggamma);
void RmsNormalize(MatrixView<const float> x, float epsilon, MatrixView<float> normalized,
                  float* rstd);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_RMS_NORM_RMS_NORM_H_
