// The arguments of an activation in 4 bits each, for its backward pass.
//
// A code q in [-8,7] stands for a cell, an interval of arguments, and the backward pass takes one
// slope for all arguments in it. Two kinds of cells exist:
//
//   centered   q = clamp(round(x / w)), round() half to even; the slope is f'(q w). The codes with
//              w = 1/2 are those of SlimFit (Ardakani et al., arXiv 2305.18513).
//   aligned    q = clamp(ceil(x / w) - 1), so that the cell is (q w, (q + 1) w]; the slope is the
//              mean of f' over it. No cell contains arguments on both sides of 0, where ReLU and
//              CRReLU have their kink, and 0 belongs to the cell on its left, as in
//              ActivateBackward(). So the slopes of ReLU and leaky ReLU are exact.
//
// The two outermost cells also hold all arguments beyond them, and have the slopes that they would
// have without those.
#ifndef WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_CELLS_H_
#define WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_CELLS_H_

#include <cstdint>

#include "kernels/activation/activation.h"
#include "kernels/context.h"

namespace whipsnake::kernels {

struct ActivationCells {
  float width = 0;  // w, in (0,1]
  bool centered = false;
};

// Published by SlimFit.
inline constexpr ActivationCells kCenteredCells = {.width = 0.5f, .centered = true};
// The cells reach from -3 to 3. Beyond, the slopes of the smooth functions are near their limits.
inline constexpr ActivationCells kAlignedCells = {.width = 0.375f, .centered = false};

// What the backward pass takes for the arguments in each cell. The indices are the codes in two's
// complement, q & 15.
inline constexpr int kActivationCells = 16;
struct ActivationCellTable {
  float slope[kActivationCells] = {};
  float correction[kActivationCells] = {};  // k(x) of CRReLU, with which ε's gradient is made, or 0
};
// Computes in fp64. Runs on the calling thread.
ActivationCellTable MakeActivationCellTable(ActivationFunction f, const ActivationCells& cells);

// The bytes of n codes. Byte j has the code of element 2j in its low half and that of element
// 2j + 1 in its high half.
constexpr int64_t ActivationCellBytes(int64_t n) { return (n + 1) / 2; }

// x[n] fp32; codes: uint8 [ActivationCellBytes(n)]. If n is odd, the last half byte is the code of
// 0. NaN has code 0, because no code stands for it: a caller that must notice NaN looks at the
// forward pass, which keeps it. The codes are the same on every ISA. The results of both functions
// do not depend on the number of threads. Callable from any thread; run on the context's team.
void EncodeCells(const Context& context, const ActivationCells& cells, const float* x, int64_t n,
                 uint8_t* codes);

// gx[i] = g[i] · slope of codes[i]; gx may alias g. Returns Σ g[i] · correction of codes[i], with
// an error below 1e-6 Σ |g · correction|. For functions other than CRReLU it is 0 if g is finite.
double ActivateBackwardFromCells(const Context& context, const ActivationCellTable& table,
                                 const uint8_t* codes, const float* g, int64_t n, float* gx);

namespace reference {
void EncodeCells(const ActivationCells& cells, const float* x, int64_t n, uint8_t* codes);
double ActivateBackwardFromCells(const ActivationCellTable& table, const uint8_t* codes,
                                 const float* g, int64_t n, float* gx);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_ACTIVATION_ACTIVATION_CELLS_H_
