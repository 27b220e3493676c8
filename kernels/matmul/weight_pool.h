// Weights for benchmarks of matrix products.
#ifndef WHIPSNAKE_KERNELS_MATMUL_WEIGHT_POOL_H_
#define WHIPSNAKE_KERNELS_MATMUL_WEIGHT_POOL_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace whipsnake::kernels {

// Returns a weight of `bytes` bytes, at most 256 MiB, that is not in the cache, because a model
// reads its weights from memory in each step. Successive calls return successive parts of a pool
// that is larger than any cache. The pool holds zeros, which take as long to multiply as other
// values. Not thread safe.
inline const std::byte* NextWeight(int64_t bytes) {
  constexpr int64_t kPoolBytes = 256 << 20;
  static const std::vector<std::byte> pool(kPoolBytes, std::byte{0});
  static int64_t next = 0;
  if (next + bytes > kPoolBytes) next = 0;
  const std::byte* weight = pool.data() + next;
  next += bytes;
  return weight;
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_MATMUL_WEIGHT_POOL_H_
