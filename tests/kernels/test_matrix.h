// What kernel tests need to make inputs and to compare outputs.
#ifndef WHIPSNAKE_TESTS_KERNELS_TEST_MATRIX_H_
#define WHIPSNAKE_TESTS_KERNELS_TEST_MATRIX_H_

#include <algorithm>
#include <bit>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/matrix.h"

namespace whipsnake::kernels {

// The same numbers on every run and machine.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}

  float Uniform(float low, float high) {
    return low + (high - low) * static_cast<float>(engine_() >> 8) * 0x1p-24f;
  }
  int64_t Integer(int64_t low, int64_t high) { return low + engine_() % (high - low + 1); }
  std::vector<float> Vector(int64_t n, float low, float high) {
    std::vector<float> v(n);
    for (float& x : v) x = Uniform(low, high);
    return v;
  }

 private:
  std::mt19937 engine_;
};

// Bit for bit: -0 differs from 0, and a NaN equals itself.
inline bool Identical(const std::vector<float>& a, const std::vector<float>& b) {
  const auto same_bits = [](float x, float y) {
    return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y);
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_bits);
}

// A matrix whose rows are wider apart than they are long. What lies between them is checked to be
// left alone: an overrun of a row is an error even where it does not leave the buffer.
class TestMatrix {
 public:
  static constexpr float kGap = -12345.0f;

  TestMatrix(int64_t rows, int64_t cols, int64_t gap = 5)
      : rows_(rows), cols_(cols), stride_(cols + gap), data_(rows * stride_, kGap) {}
  TestMatrix(int64_t rows, int64_t cols, Random& random, float low, float high)
      : TestMatrix(rows, cols) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) view().row(r)[c] = random.Uniform(low, high);
    }
  }

  MatrixView<float> view() { return {data_.data(), rows_, cols_, stride_}; }
  MatrixView<const float> view() const { return {data_.data(), rows_, cols_, stride_}; }
  float at(int64_t r, int64_t c) const { return data_[r * stride_ + c]; }

  bool GapsIntact() const {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = cols_; c < stride_; ++c) {
        if (at(r, c) != kGap) return false;
      }
    }
    return true;
  }
  // Bit for bit, gaps included.
  bool Identical(const TestMatrix& other) const { return kernels::Identical(data_, other.data_); }

 private:
  int64_t rows_, cols_, stride_;
  std::vector<float> data_;
};

// Cuts `length` into runs of random lengths.
inline std::vector<int64_t> RandomSplit(int64_t length, Random& random) {
  std::vector<int64_t> parts;
  for (int64_t rest = length; rest > 0; rest -= parts.back())
    parts.push_back(random.Integer(1, rest));
  return parts;
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_TESTS_KERNELS_TEST_MATRIX_H_
