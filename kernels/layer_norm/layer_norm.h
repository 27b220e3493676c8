// LayerNorm over a residual stream, fused with the preceding addition.
//
//   r[t] += h[t]
//   y[t] = γ ∘ (r[t] - mean(r[t])) / sqrt(var(r[t]) + epsilon) + β
//
// where var is the mean of the squared deviations from the mean. Source: Ba et al., arXiv
// 1607.06450.
//
// Notation: T rows (tokens), D columns (model width).
#ifndef WHIPSNAKE_KERNELS_LAYER_NORM_LAYER_NORM_H_
#define WHIPSNAKE_KERNELS_LAYER_NORM_LAYER_NORM_H_

#include <cstdint>

#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

struct LayerNormWeights {
  const float* gamma = nullptr;  // [D]
  const float* beta = nullptr;   // [D]
  float epsilon = 0;
};

// h[T,D], or empty to add nothing; residual r[T,D], updated in place; y[T,D]. y may not alias
// residual; h may alias y. Sums are fp32 over independent lanes, always in the same order, so a
// row's result does not depend on T. Callable from any thread; runs on the context's team. T = 0 is
// allowed.
void ResidualLayerNorm(const Context& context, MatrixView<const float> h,
                       MatrixView<float> residual, const LayerNormWeights& weights,
                       MatrixView<float> y);

// Writes the codes of y with one scale for all rows. The caller has divided γ and β by that scale.
void ResidualLayerNorm(const Context& context, MatrixView<const float> h,
                       MatrixView<float> residual, const LayerNormWeights& weights,
                       MatrixView<int8_t> y);

// Writes the codes of y and each row's scale, scale[T]. They equal those of QuantizeRows()
// (kernels/row_quantization/row_quantization.h) applied to y, bit for bit.
void ResidualLayerNorm(const Context& context, MatrixView<const float> h,
                       MatrixView<float> residual, const LayerNormWeights& weights,
                       MatrixView<int8_t> y, float* scale);

// The derivatives of y. x = r + h is the residual after the addition, g = ∂L/∂y. With
// x̂ = (x - mean) · rstd, rstd = 1 / sqrt(var + epsilon), and k = g ∘ γ:
//
//   gx += rstd · (k - mean(k) - x̂ · mean(k ∘ x̂));  gγ += Σ_t g[t] ∘ x̂[t];  gβ += Σ_t g[t]
//
// mean and rstd are computed again from x. All fp32; gx may not alias x or g.
struct LayerNormGradients {
  MatrixView<float> x;     // [T,D]
  float* gamma = nullptr;  // [D], or null if it is not wanted
  float* beta = nullptr;   // [D], or null if it is not wanted
};
// Adds to the gradients. Row t of gx depends on row t alone. The sums over rows are taken in fixed
// groups, so no result depends on the number of threads, bit for bit. Callable from any thread;
// runs on the context's team. T = 0 is allowed.
void LayerNormBackward(const Context& context, MatrixView<const float> x,
                       const LayerNormWeights& weights, MatrixView<const float> g,
                       const LayerNormGradients& gradients);

// The same from a stored x̂, which may be an approximation: the backward pass of a layer that keeps
// x̂ in a compressed form. normalized[T,D] is x̂ and rstd[T] that of each row; gradients.x may alias
// neither normalized nor g. With the x̂ and rstd of LayerNormalize() the results equal those of
// LayerNormBackward(), apart from rounding.
void NormalizedLayerNormBackward(const Context& context, MatrixView<const float> normalized,
                                 const float* rstd, const float* gamma, MatrixView<const float> g,
                                 const LayerNormGradients& gradients);
// Computes x̂ and rstd; normalized may alias x. They equal those of ResidualLayerNorm() bit for bit.
void LayerNormalize(const Context& context, MatrixView<const float> x, float epsilon,
                    MatrixView<float> normalized, float* rstd);

namespace reference {
void ResidualLayerNorm(MatrixView<const float> h, MatrixView<float> residual,
                       const LayerNormWeights& weights, MatrixView<float> y);
// The functions below compute in fp64 and round once.
void LayerNormBackward(MatrixView<const float> x, const LayerNormWeights& weights,
                       MatrixView<const float> g, const LayerNormGradients& gradients);
void NormalizedLayerNormBackward(MatrixView<const float> normalized, const float* rstd,
                                 const float* gamma, MatrixView<const float> g,
                                 const LayerNormGradients& gradients);
void LayerNormalize(MatrixView<const float> x, float epsilon, MatrixView<float> normalized,
                    float* rstd);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_LAYER_NORM_LAYER_NORM_H_
