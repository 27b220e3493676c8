// Activations as the inputs of a matrix product.
#ifndef WHIPSNAKE_ENGINE_LAYERS_ROWS_H_
#define WHIPSNAKE_ENGINE_LAYERS_ROWS_H_

#include <cstdint>

#include "engine/base/arena.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// The form of a product's inputs.
enum class Inputs {
  kFloats,
  kStaticCodes,   // with one scale, which the product has from calibration
  kDynamicCodes,  // with one scale per row, computed at run time
};

// A matrix [T,D] in one of these forms. The fields of the other forms are empty.
struct Rows {
  kernels::MatrixView<float> floats = {};
  kernels::MatrixView<int8_t> codes = {};
  float* scales = nullptr;  // [T], of dynamic codes

  static Rows LayOut(Arena& arena, Inputs inputs, int64_t rows, int64_t cols) {
    if (inputs == Inputs::kFloats) return {.floats = arena.Matrix<float>(rows, cols)};
    Rows matrix{.codes = arena.Matrix<int8_t>(rows, cols)};
    if (inputs == Inputs::kDynamicCodes) matrix.scales = arena.Matrix<float>(rows, 1).data;
    return matrix;
  }
  // The columns [begin, begin + count).
  Rows Columns(int64_t begin, int64_t count) const {
    if (codes.data == nullptr) return {.floats = floats.Columns(begin, count)};
    return {.codes = codes.Columns(begin, count), .scales = scales};
  }
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_ROWS_H_
