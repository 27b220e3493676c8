// Codes of activations, for products of codes (kernels/quantized_matmul/quantized_matmul.h).
//
// Letters: T rows (tokens), D columns.
#ifndef WHIPSNAKE_KERNELS_ROW_QUANTIZATION_ROW_QUANTIZATION_H_
#define WHIPSNAKE_KERNELS_ROW_QUANTIZATION_ROW_QUANTIZATION_H_

#include <cstdint>

#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Each row has a scale of its own, found as it comes:
//
//   scale[t] = max_i |x[t,i]| / 127;   y[t] = ToCode(x[t] · (1 / scale[t]))
//
// A row of zeros has scale 0 and codes 0. NaN counts as 0; a row with an infinity has an infinite
// scale and codes 0, of which a product makes NaN. The same on every ISA, bit for bit. Any thread;
// uses the current team (kernels/cpu/team.h).
void QuantizeRows(MatrixView<const float> x, MatrixView<int8_t> y, float* scale);

// All rows have one scale, known before: y[t] = ToCode(x[t] · inverse_scale).
void QuantizeRows(MatrixView<const float> x, float inverse_scale, MatrixView<int8_t> y);

namespace reference {
void QuantizeRows(MatrixView<const float> x, MatrixView<int8_t> y, float* scale);
void QuantizeRows(MatrixView<const float> x, float inverse_scale, MatrixView<int8_t> y);
}  // namespace reference

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_ROW_QUANTIZATION_ROW_QUANTIZATION_H_
