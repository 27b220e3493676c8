// Helpers of kernel tests that make inputs and compare outputs.
#ifndef WHIPSNAKE_TESTS_KERNELS_TEST_MATRIX_H_
#define WHIPSNAKE_TESTS_KERNELS_TEST_MATRIX_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Deterministic random numbers: the same on every run and machine.
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
  // Any of the 256 codes, including -128.
  int8_t Code() { return static_cast<int8_t>(Integer(-128, 127)); }
  std::vector<int8_t> Codes(int64_t n) {
    std::vector<int8_t> v(n);
    for (int8_t& code : v) code = Code();
    return v;
  }

 private:
  std::mt19937 engine_;
};

// Compares bit for bit: -0 differs from 0, and a NaN equals itself.
template <typename T>
bool Identical(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// A matrix with gaps between its rows. GapsIntact() detects a write past the end of a row, even if
// it stays within the buffer.
template <typename T>
class BasicTestMatrix {
 public:
  static constexpr T kGap = static_cast<T>(-123);

  BasicTestMatrix(int64_t rows, int64_t cols, int64_t gap = 5)
      : rows_(rows), cols_(cols), stride_(cols + gap), data_(rows * stride_, kGap) {}
  BasicTestMatrix(int64_t rows, int64_t cols, Random& random, float low, float high)
      : BasicTestMatrix(rows, cols) {
    Fill([&] { return random.Uniform(low, high); });
  }
  // Random codes of any value.
  BasicTestMatrix(int64_t rows, int64_t cols, Random& random) : BasicTestMatrix(rows, cols) {
    Fill([&] { return random.Code(); });
  }

  MatrixView<T> view() { return {data_.data(), rows_, cols_, stride_}; }
  MatrixView<const T> view() const { return {data_.data(), rows_, cols_, stride_}; }
  T at(int64_t r, int64_t c) const { return data_[r * stride_ + c]; }

  bool GapsIntact() const {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = cols_; c < stride_; ++c) {
        if (at(r, c) != kGap) return false;
      }
    }
    return true;
  }
  // Compares bit for bit, including the gaps.
  bool Identical(const BasicTestMatrix& other) const {
    return kernels::Identical(data_, other.data_);
  }

 private:
  template <typename Next>
  void Fill(const Next& next) {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < cols_; ++c) view().row(r)[c] = next();
    }
  }

  int64_t rows_, cols_, stride_;
  std::vector<T> data_;
};
using TestMatrix = BasicTestMatrix<float>;
using TestCodes = BasicTestMatrix<int8_t>;

// Cuts `length` into runs of random lengths.
inline std::vector<int64_t> RandomSplit(int64_t length, Random& random) {
  std::vector<int64_t> parts;
  for (int64_t rest = length; rest > 0; rest -= parts.back())
    parts.push_back(random.Integer(1, rest));
  return parts;
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_TESTS_KERNELS_TEST_MATRIX_H_
