// Memory that a thread keeps from call to call of a kernel.
#ifndef WHIPSNAKE_KERNELS_CPU_SCRATCH_H_
#define WHIPSNAKE_KERNELS_CPU_SCRATCH_H_

#include <cstdint>

#include "hwy/aligned_allocator.h"

namespace whipsnake::kernels {

// Grown as needed, its contents then lost. Aligned for any vector.
class Scratch {
 public:
  template <typename T>
  T* Get(int64_t count) {
    const int64_t bytes = count * sizeof(T);
    if (capacity_ < bytes) {
      memory_ = hwy::AllocateAligned<uint8_t>(bytes);
      capacity_ = bytes;
    }
    return reinterpret_cast<T*>(memory_.get());
  }

 private:
  hwy::AlignedFreeUniquePtr<uint8_t[]> memory_;
  int64_t capacity_ = 0;
};

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_SCRATCH_H_
