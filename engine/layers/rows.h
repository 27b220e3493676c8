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

  static Rows Lay(Arena& arena, Inputs inputs, int64_t rows, int64_t cols) {
    if (inputs == Inputs::kFloats) return {.floats = arena.Matrix<float>(rows, cols)};
    Rows laid{.codes = arena.Matrix<int8_t>(rows, cols)};
    if (inputs == Inputs::kDynamicCodes) laid.scales = arena.Matrix<float>(rows, 1).data;
    return laid;
  }
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_ROWS_H_
