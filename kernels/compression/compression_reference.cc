#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/compression/compression.h"
#include "kernels/dtype.h"

namespace whipsnake::kernels::reference {
namespace {

// The place of the code of element i in the row of codes of x's row.
struct CodePlace {
  CodePlace(const FixedPoint& format, int64_t i)
      : byte(i * format.bits / 8), shift(static_cast<int>(i * format.bits % 8)) {}
  int64_t byte;
  int shift;
};

// The scale of one group.
float GroupScale(const float* x, int64_t count) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(x[i])) return std::numeric_limits<float>::quiet_NaN();
    largest = std::max(largest, std::abs(x[i]));
  }
  return largest / 127;
}

}  // namespace

int64_t Encode(const FixedPoint& format, MatrixView<const float> x, uint8_t* codes) {
  const int64_t row_bytes = EncodedBytes(format, 1, x.cols);
  const double lowest = format.lowest(), highest = format.highest();
  std::fill_n(codes, x.rows * row_bytes, uint8_t{0});
  int64_t saturated = 0;
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < x.cols; ++i) {
      if (std::isnan(x.row(t)[i])) continue;
      const double rounded = std::nearbyint(std::ldexp(double{x.row(t)[i]}, format.fraction_bits));
      const double code = std::clamp(rounded, lowest, highest);
      saturated += code != rounded;
      const unsigned bits =
          static_cast<unsigned>(static_cast<int>(code)) & ((1u << format.bits) - 1);
      const CodePlace place(format, i);
      codes[t * row_bytes + place.byte] |= static_cast<uint8_t>(bits << place.shift);
    }
  }
  return saturated;
}

void Decode(const FixedPoint& format, const uint8_t* codes, MatrixView<float> x) {
  const int64_t row_bytes = EncodedBytes(format, 1, x.cols);
  const int count = 1 << format.bits;
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < x.cols; ++i) {
      const CodePlace place(format, i);
      int code = (codes[t * row_bytes + place.byte] >> place.shift) & (count - 1);
      if (code > format.highest()) code -= count;
      x.row(t)[i] = std::ldexp(static_cast<float>(code), -format.fraction_bits);
    }
  }
}

void EncodeGroups(MatrixView<const float> x, uint8_t* bytes, bool keep_signs) {
  const MatrixView<float> scales(reinterpret_cast<float*>(bytes), x.rows, GroupsOfRow(x.cols));
  int8_t* codes = reinterpret_cast<int8_t*>(scales.row(x.rows));
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < x.cols; ++i) {
      float& scale = scales.row(t)[i / kGroupColumns];
      if (i % kGroupColumns == 0) {
        scale = GroupScale(x.row(t) + i, std::min(kGroupColumns, x.cols - i));
      }
      const float value = x.row(t)[i];
      float code = value / scale;
      if (keep_signs && value != 0 && std::abs(code) < 1) code = std::copysign(1.0f, value);
      codes[t * x.cols + i] = ToCode(code);
    }
  }
}

void DecodeGroups(const uint8_t* bytes, MatrixView<float> x) {
  const MatrixView<const float> scales(reinterpret_cast<const float*>(bytes), x.rows,
                                       GroupsOfRow(x.cols));
  const int8_t* codes = reinterpret_cast<const int8_t*>(scales.row(x.rows));
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < x.cols; ++i) {
      x.row(t)[i] = codes[t * x.cols + i] * scales.row(t)[i / kGroupColumns];
    }
  }
}

void EncodeBF16(MatrixView<const float> x, uint16_t* codes) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < x.cols; ++i) codes[t * x.cols + i] = ToBF16(x.row(t)[i]);
  }
}

void DecodeBF16(const uint16_t* codes, MatrixView<float> x) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < x.cols; ++i) x.row(t)[i] = FromBF16(codes[t * x.cols + i]);
  }
}

void Prune(MatrixView<const float> x, int64_t k, int32_t* indices, float* values) {
  const auto element = [&](int32_t index) { return x.row(index / x.cols)[index % x.cols]; };
  const auto magnitude = [&](int32_t index) {
    return std::bit_cast<int32_t>(std::abs(element(index)));
  };
  std::vector<int32_t> order(x.rows * x.cols);
  std::iota(order.begin(), order.end(), 0);
  // As integers, the magnitudes of NaN are above those of numbers.
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return magnitude(a) > magnitude(b); });
  order.resize(k);
  std::sort(order.begin(), order.end());
  for (int64_t j = 0; j < k; ++j) {
    indices[j] = order[j];
    values[j] = element(order[j]);
  }
}

void Unprune(const int32_t* indices, const float* values, int64_t k, MatrixView<float> x) {
  for (int64_t t = 0; t < x.rows; ++t) std::fill_n(x.row(t), x.cols, 0.0f);
  for (int64_t j = 0; j < k; ++j) x.row(indices[j] / x.cols)[indices[j] % x.cols] = values[j];
}

}  // namespace whipsnake::kernels::reference
