// The sum of two matrices.
//
//   y[t,i] = a[t,i] + b[t,i]
//
// Notation: T rows, D columns.
#ifndef WHIPSNAKE_KERNELS_ADDITION_ADDITION_H_
#define WHIPSNAKE_KERNELS_ADDITION_ADDITION_H_

#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// All fp32 [T,D]. y may alias a or b. Elements do not depend on one another, nor on the number of
// threads, bit for bit. Callable from any thread; runs on the context's team, which shares the
// rows.
void Add(const Context& context, MatrixView<const float> a, MatrixView<const float> b,
         MatrixView<float> y);

namespace reference {
void Add(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> y);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_ADDITION_ADDITION_H_
