// Rotation of rows by a Hadamard matrix, with optional rounding of the result to codes.
//
//   y[t] = scale · H x[t],   H of order n = cols with entries ±1 and H Hᵀ = n I
//
// H = F ⊗ S, where S is Sylvester's matrix of order 2^k and F is the factor. The first of these
// that fits is used: n = 12·2^k (Paley II with q = 5), n = 40·2^k ([[P,P],[P,-P]] with P of order
// 20 from Paley I with q = 19), n = 2^k (no factor). Element c·2^k + m of a row has index c in F
// and m in S: butterflies run over m, then F over c. H need not be symmetric. Source: Quamba, arXiv
// 2410.13229, section 4.2, and its repository's construction of the factors.
//
// Notation: T rows (tokens), n columns.
#ifndef WHIPSNAKE_KERNELS_HADAMARD_HADAMARD_H_
#define WHIPSNAKE_KERNELS_HADAMARD_HADAMARD_H_

#include <cstdint>

#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Returns whether H exists for n >= 1, that is, whether n has one of the forms above.
bool HasHadamard(int64_t n);

// x[T,n] and y[T,n], where HasHadamard(n). fp32 sums in an order that depends on n alone, so a
// row's bits do not depend on T or the number of threads. y may alias x, but only exactly. Callable
// from any thread; runs on the context's team. T = 0 is allowed.
void Hadamard(const Context& context, MatrixView<const float> x, float scale, MatrixView<float> y);

// y = ToCode(scale · H x). For a normalized rotation whose codes have the scale s_y, `scale` is
// 1 / (sqrt(n) · s_y).
void Hadamard(const Context& context, MatrixView<const float> x, float scale, MatrixView<int8_t> y);

// Quantizes without rotation: y[t,i] = ToCode(x[t,i] · multiplier[i]), with multiplier[n].
void Quantize(const Context& context, MatrixView<const float> x, const float* multiplier,
              MatrixView<int8_t> y);

namespace reference {
// Returns H[i,j], +1 or -1, computed from the definitions.
float HadamardEntry(int64_t n, int64_t i, int64_t j);
void Hadamard(MatrixView<const float> x, float scale, MatrixView<float> y);
void Hadamard(MatrixView<const float> x, float scale, MatrixView<int8_t> y);
void Quantize(MatrixView<const float> x, const float* multiplier, MatrixView<int8_t> y);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_HADAMARD_HADAMARD_H_
