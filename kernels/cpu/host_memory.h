// Memory of the CPU for large arrays.
#ifndef WHIPSNAKE_KERNELS_CPU_HOST_MEMORY_H_
#define WHIPSNAKE_KERNELS_CPU_HOST_MEMORY_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace whipsnake::kernels {

// Every vector type and a cache line need at most this.
inline constexpr int64_t kHostAlignment = 64;

// Returns memory that is aligned to kHostAlignment, or null if the system has none; std::free()
// frees it. The system is asked to back large memory by huge pages, because an operation that
// walks through a matrix along its columns touches more small pages than the processor can keep
// the addresses of.
inline std::byte* AllocateHostMemory(int64_t bytes) {
  constexpr int64_t kHugePage = int64_t{2} << 20;  // of x86-64; elsewhere a multiple of a page
  const bool large = bytes >= kHugePage;
  void* data = nullptr;
  if (posix_memalign(&data, large ? kHugePage : kHostAlignment, bytes) != 0) return nullptr;
  // A system without huge pages refuses, and the memory is as good as any other.
  if (large) madvise(data, bytes, MADV_HUGEPAGE);
  return static_cast<std::byte*>(data);
}

struct FreeHostMemory {
  void operator()(void* data) const { std::free(data); }
};

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_HOST_MEMORY_H_
