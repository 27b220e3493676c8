// The tensors that a quantization makes, and the operations on weights that all recipes share.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_QUANTIZED_TENSORS_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_QUANTIZED_TENSORS_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/quantize/codes.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// The results of quantization: tensors and the rounding errors of the weights.
struct QuantizedTensors {
  std::vector<OwnedTensor> tensors;
  std::map<std::string, RoundingError> errors;  // by the weight's name

  // Adds a weight's codes and scales. `shape` begins with the number of rows.
  void AddWeight(const std::string& name, std::vector<int64_t> shape, std::span<const float> values,
                 bool scale_per_row);
  void AddFloats(const std::string& name, std::vector<int64_t> shape,
                 std::span<const float> values);
  // Adds an embedding or a head [rows,cols]: as codes with one scale per row if `bits` is 8, else
  // in bf16.
  void AddTable(const std::string& name, std::vector<int64_t> shape, std::span<const float> values,
                int64_t bits);
};

// Reads the tensor `name` as fp32. Returns INVALID_ARGUMENT, naming the tensor, if a value is not
// finite.
absl::StatusOr<std::vector<float>> ReadFinite(const Checkpoint& checkpoint, const std::string& name,
                                              std::vector<int64_t> shape);

// SmoothQuant's factors: an input is divided by its factor, and the weight's column is multiplied
// by it. max|x_j|^α / max|W_j|^(1-α), α = 1/2 (arXiv 2211.10438, equation 4). absmax[K],
// weight[N,K].
std::vector<float> SmoothingOf(const std::vector<float>& absmax,
                               kernels::MatrixView<const float> weight);
void ScaleColumns(kernels::MatrixView<float> weight, const std::vector<float>& factors);
// The largest magnitude of the inputs after their division by the factors.
float SmoothedAbsMax(const std::vector<float>& absmax, const std::vector<float>& smoothing);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_QUANTIZED_TENSORS_H_
