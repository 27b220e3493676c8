// A bump allocator that lays out matrices one after another in a block of memory.
#ifndef WHIPSNAKE_ENGINE_BASE_ARENA_H_
#define WHIPSNAKE_ENGINE_BASE_ARENA_H_

#include <cstddef>
#include <cstdint>

#include "kernels/matrix.h"

namespace whipsnake::engine {

// Does not own its memory and checks no bounds. To measure a layout, run the layout code on an
// arena without memory and read bytes(); the views that it returns are then null and must not be
// dereferenced. A copy continues from the same position.
class Arena {
 public:
  static constexpr int64_t kAlignment = 64;

  // `memory` must be aligned to kAlignment bytes, or null to measure only.
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
