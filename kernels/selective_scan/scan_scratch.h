// What a quantized scan expands once, before its threads begin.
#ifndef WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SCAN_SCRATCH_H_
#define WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SCAN_SCRATCH_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/selective_scan/selective_scan.h"

namespace whipsnake::kernels {

// Runs of more tokens than this keep a narrow state in fp32 from one tile to the next.
inline constexpr int64_t kScanTileRows = 16;

struct ScanScratch {
  std::vector<float> b, c;              // [T,N]
  std::vector<float> state_reciprocal;  // [N], 1 / state_scale, for kI8
  // [N,E], of one run at a time. Threads use their own channels of it. Empty where no run needs it.
  std::vector<float> states;
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

inline ScanScratch MakeScanScratch(std::span<const QuantizedScanRun> runs,
                                   const QuantizedScanOperands& o) {
  ScanScratch scratch;
  scratch.b = Expand(o.b);
  scratch.c = Expand(o.c);
  const int64_t states = o.b.codes.cols;
  if (o.state_dtype == DType::kI8) {
    for (int64_t n = 0; n < states; ++n) scratch.state_reciprocal.push_back(1 / o.state_scale[n]);
  }
  const bool any_long = std::any_of(runs.begin(), runs.end(), [](const QuantizedScanRun& run) {
    return run.length > kScanTileRows;
  });
  if (o.state_dtype != DType::kF32 && any_long) scratch.states.resize(states * o.y.cols);
  return scratch;
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_SELECTIVE_SCAN_SCAN_SCRATCH_H_
