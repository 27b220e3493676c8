// The step that turns the integer sums of a quantized product into outputs. All forms of the
// product share it, so that the bits of an output do not depend on the form.
#ifndef WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_EPILOGUE_H_
#define WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_EPILOGUE_H_

#include <cstdint>

#include "kernels/matrix.h"
#include "kernels/quantized_matmul/quantized_matmul.h"

namespace whipsnake::kernels {

// Thread safe for concurrent writes to parts of y that do not overlap. Owns nothing.
class Epilogue {
 public:
  Epilogue(const SumScaling& scaling, MatrixView<int8_t> y) : scaling_(scaling), codes_(y) {}
  Epilogue(const SumScaling& scaling, MatrixView<float> y) : scaling_(scaling), floats_(y) {}

  // Writes y[m + i, n + j] from sums[i * stride + j], for i in [0, rows) and j in [0, count). Each
  // row of sums must be readable up to a multiple of 16 elements.
  void Write(const int32_t* sums, int64_t stride, int64_t m, int64_t rows, int64_t n,
             int64_t count) const;

 private:
  SumScaling scaling_;
  // One of the two is y; the other has no data.
  MatrixView<int8_t> codes_;
  MatrixView<float> floats_;
};

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_EPILOGUE_H_
