#include "engine/quantize/codes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace whipsnake::engine {
namespace {

float AbsMax(const float* values, int64_t count) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(values[i]));
  return largest;
}

template <typename T>
OwnedTensor Tensor(std::string name, kernels::DType dtype, std::vector<int64_t> shape,
                   std::span<const T> values) {
  const auto bytes = std::as_bytes(values);
  return {std::move(name), dtype, std::move(shape), {bytes.begin(), bytes.end()}};
}

}  // namespace

float ScaleOf(float absmax) { return std::max(absmax / 127.0f, 1e-6f); }

int8_t RoundingError::Add(float value, float scale) {
  const float units = value / scale;
  const int8_t code = kernels::ToCode(units);
  const double rest = double{value} - double{scale} * code;
  signal += double{value} * value;
  noise += rest * rest;
  clipped += std::abs(units) > 127.5f;
  ++count;
  return code;
}

double RoundingError::snr_db() const {
  return noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
}

QuantizedWeight QuantizeWeight(kernels::MatrixView<const float> weight, bool scale_per_row) {
  QuantizedWeight quantized;
  quantized.codes.resize(weight.rows * weight.cols);
  float whole = 0;
  for (int64_t r = 0; r < weight.rows; ++r) {
    const float absmax = AbsMax(weight.row(r), weight.cols);
    whole = std::max(whole, absmax);
    if (scale_per_row) quantized.scale.push_back(ScaleOf(absmax));
  }
  if (!scale_per_row) quantized.scale = {ScaleOf(whole)};
  for (int64_t r = 0; r < weight.rows; ++r) {
    const float scale = quantized.scale[scale_per_row ? r : 0];
    for (int64_t c = 0; c < weight.cols; ++c) {
      quantized.codes[r * weight.cols + c] = quantized.error.Add(weight.row(r)[c], scale);
    }
  }
  return quantized;
}

OwnedTensor CodesTensor(std::string name, std::vector<int64_t> shape,
                        std::span<const int8_t> codes) {
  return Tensor(std::move(name), kernels::DType::kI8, std::move(shape), codes);
}

OwnedTensor FloatsTensor(std::string name, std::vector<int64_t> shape,
                         std::span<const float> values) {
  return Tensor(std::move(name), kernels::DType::kF32, std::move(shape), values);
}

}  // namespace whipsnake::engine
