// Weights for benchmarks of products.
#ifndef WHIPSNAKE_KERNELS_MATMUL_WEIGHT_POOL_H_
#define WHIPSNAKE_KERNELS_MATMUL_WEIGHT_POOL_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace whipsnake::kernels {

// `bytes`, at most 256 MiB, that are not in the cache: a model's weights come from memory in each
// step, so copies that together exceed any cache take turns. Zeros are as quick to multiply as
// anything else.
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
