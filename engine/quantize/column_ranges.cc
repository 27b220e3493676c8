#include "engine/quantize/column_ranges.h"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace whipsnake::engine {

using kernels::MatrixView;

void ColumnRanges::Observe(MatrixView<const float> values) {
  absmax_.resize(values.cols, 0.0f);
  for (int64_t r = 0; r < values.rows; ++r) {
    const float* row = values.row(r);
    for (int64_t c = 0; c < values.cols; ++c) {
      // The bits of magnitudes have the order of the magnitudes, with infinity and then NaN above
      // all numbers.
      const uint32_t magnitude = std::bit_cast<uint32_t>(row[c]) & 0x7fffffffu;
      absmax_[c] = std::bit_cast<float>(std::max(std::bit_cast<uint32_t>(absmax_[c]), magnitude));
    }
  }
}

float ColumnRanges::whole() const {
  return absmax_.empty() ? 0.0f : *std::max_element(absmax_.begin(), absmax_.end());
}

}  // namespace whipsnake::engine
