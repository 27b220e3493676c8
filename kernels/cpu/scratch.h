// Scratch memory that is reused between operations. Its contents are not preserved.
#ifndef WHIPSNAKE_KERNELS_CPU_SCRATCH_H_
#define WHIPSNAKE_KERNELS_CPU_SCRATCH_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/cpu/host_memory.h"

namespace whipsnake::kernels {

// Grows as needed; growing discards the contents. Aligned for every vector type. Not thread safe:
// each workspace has its own (kernels/cpu/workspace.h).
class Scratch {
 public:
  Scratch() = default;
  ~Scratch() {
    if (capacity_ != 0) Count(-capacity_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Returns room for `count` elements, valid until the next call that grows it. Throws
  // std::bad_alloc if the system has no memory; Team::Run passes the exception from a worker to its
  // caller.
  template <typename T>
  T* Get(int64_t count) {
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
    if (capacity_ < bytes) Grow(bytes);
    return reinterpret_cast<T*>(memory_.get());
  }

  // The bytes that all Scratch objects of the process hold now. Thread safe.
  static int64_t Kept();

 private:
  void Grow(int64_t bytes);
  static void Count(int64_t bytes);

  std::unique_ptr<std::byte, FreeHostMemory> memory_;
  int64_t capacity_ = 0;
};

// Returns an upper bound, in bytes, of the memory that the kernels keep in the workspace of a team
// of `threads` threads if no product of any model has more than `rows` rows of activations or
// `inputs` inputs. Includes an allowance for oneDNN's memory while it multiplies a tile.
int64_t ScratchBound(int64_t rows, int64_t inputs, int threads);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_SCRATCH_H_
