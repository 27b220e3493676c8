// Memory that a thread keeps from call to call of a kernel.
#ifndef WHIPSNAKE_KERNELS_CPU_SCRATCH_H_
#define WHIPSNAKE_KERNELS_CPU_SCRATCH_H_

#include <cstddef>
#include <cstdint>

#include "hwy/aligned_allocator.h"

namespace whipsnake::kernels {

// Grown as needed; its contents are lost when it grows. Aligned for any vector.
class Scratch {
 public:
  Scratch() = default;
  ~Scratch() { Count(-capacity_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Room for `count` elements. Throws std::bad_alloc where the system has no memory; Team::Run
  // carries that from a worker to its own caller.
  template <typename T>
  T* Get(int64_t count) {
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
    if (capacity_ < bytes) Grow(bytes);
    return reinterpret_cast<T*>(memory_.get());
  }

  // Bytes that the threads of the process keep now, all together.
  static int64_t Kept();

 private:
  void Grow(int64_t bytes);
  static void Count(int64_t bytes);

  hwy::AlignedFreeUniquePtr<uint8_t[]> memory_;
  int64_t capacity_ = 0;
};

// An upper bound of what the kernels keep on a team of so many threads, in bytes, when no product
// of any model has more than `rows` rows of activations or more than `inputs` inputs. Includes an
// allowance for what oneDNN takes while it multiplies a tile.
int64_t ScratchBound(int64_t rows, int64_t inputs, int threads);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_SCRATCH_H_
