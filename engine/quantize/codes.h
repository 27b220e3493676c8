// Rounding of weights to codes.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_CODES_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_CODES_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// The scale whose code 127 is `absmax`; never below 1e-6, so that a silent channel can be divided
// by it.
float ScaleOf(float absmax);

// How far rounding moved what it rounded.
struct RoundingError {
  double signal = 0;  // Σ v²
  double noise = 0;   // Σ (v - code · scale)²
  int64_t clipped = 0;
  int64_t count = 0;

  int8_t Add(float value, float scale);  // the code that `value` is rounded to
  double snr_db() const;                 // infinite without noise
  double clip_rate() const { return count == 0 ? 0 : static_cast<double>(clipped) / count; }
};

struct QuantizedWeight {
  std::vector<int8_t> codes;
  std::vector<float> scale;  // of each row, or one
  RoundingError error;
};

// Half to even, saturating, by the largest magnitude of each row or of the whole.
QuantizedWeight QuantizeWeight(kernels::MatrixView<const float> weight, bool scale_per_row);

// Tensors in memory.
OwnedTensor CodesTensor(std::string name, std::vector<int64_t> shape,
                        std::span<const int8_t> codes);
OwnedTensor FloatsTensor(std::string name, std::vector<int64_t> shape,
                         std::span<const float> values);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_CODES_H_
