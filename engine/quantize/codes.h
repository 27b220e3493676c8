// Rounds weights to int8 codes.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_CODES_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_CODES_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// The scale for which code 127 stands for `absmax`. Never below 1e-6, so that a channel of zeros
// can be divided by it.
float ScaleOf(float absmax);

// The error of rounded values.
struct RoundingError {
  double signal = 0;    // Σ v²
  double noise = 0;     // Σ (v - code · scale)²
  int64_t clipped = 0;  // values beyond the code range
  int64_t count = 0;    // all values

  int8_t Add(float value, float scale);  // returns the code to which `value` is rounded
  double snr_db() const;                 // infinite without noise
  double clip_rate() const { return count == 0 ? 0 : static_cast<double>(clipped) / count; }
};

struct QuantizedWeight {
  std::vector<int8_t> codes;
  std::vector<float> scale;  // one per row, or one for all
  RoundingError error;
};

// Rounds half to even and saturates. The scale comes from the largest magnitude of each row or of
// the whole weight.
QuantizedWeight QuantizeWeight(kernels::MatrixView<const float> weight, bool scale_per_row);

// Make tensors in memory.
OwnedTensor CodesTensor(std::string name, std::vector<int64_t> shape,
                        std::span<const int8_t> codes);
OwnedTensor FloatsTensor(std::string name, std::vector<int64_t> shape,
                         std::span<const float> values);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_CODES_H_
