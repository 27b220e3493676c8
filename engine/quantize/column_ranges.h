// The range of each column of an activation, from calibration.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_COLUMN_RANGES_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_COLUMN_RANGES_H_

#include <vector>

#include "kernels/matrix.h"

namespace whipsnake::engine {

// The largest magnitude of each column so far. NaN counts as larger than infinity.
class ColumnRanges {
 public:
  void Observe(kernels::MatrixView<const float> values);
  const std::vector<float>& absmax() const { return absmax_; }
  float whole() const;  // of all columns; 0 if nothing was seen

 private:
  std::vector<float> absmax_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_COLUMN_RANGES_H_
