// The data that a quantized scan expands once, before its threads start.
#ifndef WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SCAN_SCRATCH_H_
#define WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SCAN_SCRATCH_H_

#include <cstdint>
#include <vector>

#include "kernels/selective_scan/selective_scan.h"

namespace whipsnake::kernels {

struct ScanScratch {
  std::vector<float> b, c;              // [T,N]
  std::vector<float> state_reciprocal;  // [N], 1 / state_scale, for kI8
};

inline std::vector<float> Expand(const ScaledCodes& matrix) {
  const int64_t cols = matrix.codes.cols;
  std::vector<float> values(matrix.codes.rows * cols);
  for (int64_t r = 0; r < matrix.codes.rows; ++r) {
    const int8_t* codes = matrix.codes.row(r);
    float* row = values.data() + r * cols;
    for (int64_t i = 0; i < cols; ++i) row[i] = static_cast<float>(codes[i]) * matrix.scale[i];
  }
  return values;
}

inline ScanScratch MakeScanScratch(const QuantizedScanOperands& o) {
  ScanScratch scratch;
  scratch.b = Expand(o.b);
  scratch.c = Expand(o.c);
  const int64_t states = o.b.codes.cols;
  if (o.state_dtype == DType::kI8) {
    for (int64_t n = 0; n < states; ++n) scratch.state_reciprocal.push_back(1 / o.state_scale[n]);
  }
  return scratch;
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SCAN_SCRATCH_H_
