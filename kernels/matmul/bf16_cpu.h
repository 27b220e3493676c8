// What products with bf16 weights need of the CPU.
#ifndef WHIPSNAKE_KERNELS_MATMUL_BF16_CPU_H_
#define WHIPSNAKE_KERNELS_MATMUL_BF16_CPU_H_

#include <cstdint>

namespace whipsnake::kernels {

// Whether this process may use the instruction that multiplies pairs of bf16 and adds them up in
// fp32 (AVX-512 BF16). CPUs with VNNI may lack it. It takes subnormal operands, and gives
// subnormal sums, as zeros.
bool HasBF16Products();

// rounded[i] = ToBF16(x[i]) for i < count. May not alias.
void RoundToBF16(const float* x, int64_t count, uint16_t* rounded);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_MATMUL_BF16_CPU_H_
