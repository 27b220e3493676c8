// Quantization of activations to codes, for products of codes
// (kernels/quantized_matmul/quantized_matmul.h).
//
// Notation: T rows (tokens), D columns.
#ifndef WHIPSNAKE_KERNELS_ROW_QUANTIZATION_ROW_QUANTIZATION_H_
#define WHIPSNAKE_KERNELS_ROW_QUANTIZATION_ROW_QUANTIZATION_H_

#include <cstdint>

#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Quantizes x[T,D] to y[T,D] with a dynamic scale per row:
//
//   scale[t] = max_i |x[t,i]| / 127;   y[t] = ToCode(x[t] · (1 / scale[t]))
//
// A row of zeros has scale 0 and codes 0. NaN counts as 0. A row with an infinity has an infinite
// scale and codes 0, which give NaN in a product. The same on every ISA, bit for bit. Callable from
// any thread; runs on the context's team.
void QuantizeRows(const Context& context, MatrixView<const float> x, MatrixView<int8_t> y,
                  float* scale);

// Quantizes all rows with one static scale: y[t] = ToCode(x[t] · inverse_scale).
void QuantizeRows(const Context& context, MatrixView<const float> x, float inverse_scale,
                  MatrixView<int8_t> y);

namespace reference {
void QuantizeRows(MatrixView<const float> x, MatrixView<int8_t> y, float* scale);
void QuantizeRows(MatrixView<const float> x, float inverse_scale, MatrixView<int8_t> y);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_ROW_QUANTIZATION_ROW_QUANTIZATION_H_
