// Rotation of rows by a Hadamard matrix, and the rounding of what comes out to codes.
//
//   y[t] = scale · H x[t],   H of order n = cols with entries ±1 and H Hᵀ = n I
//
// H = F ⊗ S with S Sylvester's matrix of order 2^k and F the factor, by the first of these that
// fits: n = 12·2^k (Paley II with q = 5), n = 40·2^k ([[P,P],[P,-P]], P of order 20 from Paley I
// with q = 19), n = 2^k (no factor). Element i = c·2^k + m of a row: butterflies over m, then F
// over c. H need not be symmetric. Source: Quamba, arXiv 2410.13229, section 4.2, and its
// repository's construction of the factors.
//
// Letters: T rows (tokens), n columns.
#ifndef WHIPSNAKE_KERNELS_HADAMARD_HADAMARD_H_
#define WHIPSNAKE_KERNELS_HADAMARD_HADAMARD_H_

#include <cstdint>

#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Whether there is a factor for n >= 1.
bool HasHadamard(int64_t n);

// x[T,n], y[T,n], HasHadamard(n). fp32 sums in an order that depends on n alone, so that a row's
// bits do not depend on T or the number of threads. y may alias x exactly. Any thread; uses the
// current team (kernels/cpu/team.h). T = 0 is allowed.
void Hadamard(MatrixView<const float> x, float scale, MatrixView<float> y);

// y = ToCode(scale · H x): `scale` is 1 / (sqrt(n) · s_y) for a rotation whose codes have the scale
// s_y.
void Hadamard(MatrixView<const float> x, float scale, MatrixView<int8_t> y);

// No rotation: y[t,i] = ToCode(x[t,i] · multiplier[i]), multiplier[n].
void Quantize(MatrixView<const float> x, const float* multiplier, MatrixView<int8_t> y);

namespace reference {
// H[i,j], +1 or -1, written from the definitions.
float HadamardEntry(int64_t n, int64_t i, int64_t j);
void Hadamard(MatrixView<const float> x, float scale, MatrixView<float> y);
void Hadamard(MatrixView<const float> x, float scale, MatrixView<int8_t> y);
void Quantize(MatrixView<const float> x, const float* multiplier, MatrixView<int8_t> y);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_HADAMARD_HADAMARD_H_
