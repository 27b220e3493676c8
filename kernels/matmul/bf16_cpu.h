// CPU support for products with bf16 weights.
#ifndef WHIPSNAKE_KERNELS_MATMUL_BF16_CPU_H_
#define WHIPSNAKE_KERNELS_MATMUL_BF16_CPU_H_

#include <cstdint>

namespace whipsnake::kernels {

// Returns whether this process may use the AVX-512 BF16 instruction that multiplies pairs of bf16
// and adds the products in fp32. CPUs with VNNI may lack it. It treats subnormal operands as zeros
// and returns zero for subnormal sums.
bool HasBF16Products();

// rounded[i] = ToBF16(x[i]) for i < count. The arrays may not alias.
void RoundToBF16(const float* x, int64_t count, uint16_t* rounded);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_MATMUL_BF16_CPU_H_
