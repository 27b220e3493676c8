// Matrices laid out one after the other in a piece of memory.
#ifndef WHIPSNAKE_ENGINE_BASE_ARENA_H_
#define WHIPSNAKE_ENGINE_BASE_ARENA_H_

#include <cstddef>
#include <cstdint>

#include "kernels/matrix.h"

namespace whipsnake::engine {

// Owns nothing and checks nothing. The same code that lays matrices out measures what they need, on
// an arena without memory: bytes() is then the answer, and the views must not be followed. A copy
// goes on from the same place.
class Arena {
 public:
  static constexpr int64_t kAlignment = 64;

  // `memory` is aligned to kAlignment, or null.
  explicit Arena(std::byte* memory = nullptr) : memory_(memory) {}

  template <typename T>
  kernels::MatrixView<T> Matrix(int64_t rows, int64_t cols) {
    T* data = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + bytes_);
    const int64_t size = rows * cols * static_cast<int64_t>(sizeof(T));
    bytes_ += (size + kAlignment - 1) / kAlignment * kAlignment;
    return {data, rows, cols};
  }

  int64_t bytes() const { return bytes_; }

 private:
  std::byte* memory_;
  int64_t bytes_ = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_ARENA_H_
