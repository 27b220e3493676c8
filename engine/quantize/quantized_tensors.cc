#include "engine/quantize/quantized_tensors.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/status.h"
#include "engine/layers/weights.h"

namespace whipsnake::engine {
namespace {

using kernels::MatrixView;

constexpr float kSmallestWeight = 1e-5f;
constexpr double kSmoothing = 0.5;  // α: half of an outlier moves into the weights

}  // namespace

void QuantizedTensors::AddWeight(const std::string& name, std::vector<int64_t> shape,
                                 std::span<const float> values, bool scale_per_row) {
  const int64_t rows = shape.front();
  const QuantizedWeight quantized =
      QuantizeWeight({values.data(), rows, std::ssize(values) / rows}, scale_per_row);
  tensors.push_back(CodesTensor(CodesName(name), std::move(shape), quantized.codes));
  AddFloats(ScaleName(name), {std::ssize(quantized.scale)}, quantized.scale);
  errors[name] = quantized.error;
}

void QuantizedTensors::AddFloats(const std::string& name, std::vector<int64_t> shape,
                                 std::span<const float> values) {
  tensors.push_back(FloatsTensor(name, std::move(shape), values));
}

void QuantizedTensors::AddTable(const std::string& name, std::vector<int64_t> shape,
                                std::span<const float> values, int64_t bits) {
  if (bits == 8) return AddWeight(name, std::move(shape), values, /*scale_per_row=*/true);
  OwnedTensor tensor{name, kernels::DType::kBF16, std::move(shape),
                     std::vector<std::byte>(2 * values.size())};
  auto* out = reinterpret_cast<uint16_t*>(tensor.data.data());
  for (size_t i = 0; i < values.size(); ++i) out[i] = kernels::ToBF16(values[i]);
  tensors.push_back(std::move(tensor));
}

absl::StatusOr<std::vector<float>> ReadFinite(const Checkpoint& checkpoint, const std::string& name,
                                              std::vector<int64_t> shape) {
  ASSIGN_OR_RETURN(const TensorView tensor, checkpoint.Get(name, shape));
  std::vector<float> values(tensor.elements());
  ToFloat(tensor, values.data());
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(name), ": ", values[i],
                                                   " at index ", i,
                                                   " seen, expected finite numbers"));
  }
  return values;
}

std::vector<float> SmoothingOf(const std::vector<float>& absmax, MatrixView<const float> weight) {
  std::vector<float> smoothing(weight.cols, 1.0f);
  for (int64_t c = 0; c < weight.cols; ++c) {
    float largest = 0;
    for (int64_t r = 0; r < weight.rows; ++r)
      largest = std::max(largest, std::abs(weight.row(r)[c]));
    // A column of zeros takes the outlier entirely. A channel that is always 0 is left unchanged.
    const double m = std::pow(absmax[c], kSmoothing) /
                     std::pow(std::max(largest, kSmallestWeight), 1 - kSmoothing);
    if (absmax[c] > 0) smoothing[c] = std::max(static_cast<float>(m), kSmallestWeight);
  }
  return smoothing;
}

void ScaleColumns(MatrixView<float> weight, const std::vector<float>& factors) {
  for (int64_t r = 0; r < weight.rows; ++r) {
    for (int64_t c = 0; c < weight.cols; ++c) weight.row(r)[c] *= factors[c];
  }
}

float SmoothedAbsMax(const std::vector<float>& absmax, const std::vector<float>& smoothing) {
  float largest = 0;
  for (size_t i = 0; i < absmax.size(); ++i) largest = std::max(largest, absmax[i] / smoothing[i]);
  return largest;
}

}  // namespace whipsnake::engine
