// Activations on their way into a product.
#ifndef WHIPSNAKE_ENGINE_LAYERS_ROWS_H_
#define WHIPSNAKE_ENGINE_LAYERS_ROWS_H_

#include <cstdint>

#include "engine/base/arena.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// What a product's inputs are.
enum class Inputs {
  kFloats,
  kStaticCodes,   // of one scale, which the product knows from calibration
  kDynamicCodes,  // of a scale for each row, found as it comes
};

// A matrix [T,D] in one of these forms; the others' fields are empty.
struct Rows {
  kernels::MatrixView<float> floats = {};
  kernels::MatrixView<int8_t> codes = {};
  float* scales = nullptr;  // [T]

  static Rows Lay(Arena& arena, Inputs inputs, int64_t rows, int64_t cols) {
    if (inputs == Inputs::kFloats) return {.floats = arena.Matrix<float>(rows, cols)};
    Rows laid{.codes = arena.Matrix<int8_t>(rows, cols)};
    if (inputs == Inputs::kDynamicCodes) laid.scales = arena.Matrix<float>(rows, 1).data;
    return laid;
  }
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_ROWS_H_
