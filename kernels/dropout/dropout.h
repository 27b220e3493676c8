// Dropout with masks that are computed, not stored.
//
//   y[t,i] = x[t,i] · keep(t,i) / (1 - p)        keep is 0 with probability p, else 1
//
// Source: Srivastava et al., JMLR 15 (2014). keep is a function of the mask's key and the element's
// place, so the backward pass, a recomputed forward pass and a resumed run see the same mask. The
// function is Philox4x32-10 (Salmon et al., SC 2011).
//
// Notation: T rows, D columns.
#ifndef WHIPSNAKE_KERNELS_DROPOUT_DROPOUT_H_
#define WHIPSNAKE_KERNELS_DROPOUT_DROPOUT_H_

#include <cstdint>

#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Element (t, i) is dropped if word i % 4 of Philox4x32-10 with the counter (i / 4, t, the low and
// the high half of `stream`) and the key (the low and the high half of `seed`) is below p · 2^32.
struct DropoutMask {
  float probability = 0;  // p, in [0,1); 0 drops nothing
  uint64_t seed = 0;      // of the training run
  uint64_t stream = 0;    // of the tensor in the step; no two tensors of a run have the same
};

// y = dropout(x). y may alias x. Its derivative is the same function: gx = dropout(g).
void Dropout(const Context& context, const DropoutMask& mask, MatrixView<const float> x,
             MatrixView<float> y);
// y = r + dropout(x), rounded twice. y may alias r or x.
void AddDropout(const Context& context, const DropoutMask& mask, MatrixView<const float> x,
                MatrixView<const float> r, MatrixView<float> y);

// All fp32, T < 2^32, D < 2^32. The results are the same on every ISA and for any number of
// threads, bit for bit. With p = 0, y is x or r + x exactly, and no mask is computed. Callable from
// any thread; run on the context's team.

namespace reference {
// The words of Philox4x32-10.
void Philox(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]);
// 0 for a dropped element, else 1 / (1 - p), rounded to fp32.
float Factor(const DropoutMask& mask, int64_t t, int64_t i);
void Dropout(const DropoutMask& mask, MatrixView<const float> x, MatrixView<float> y);
void AddDropout(const DropoutMask& mask, MatrixView<const float> x, MatrixView<const float> r,
                MatrixView<float> y);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_DROPOUT_DROPOUT_H_
