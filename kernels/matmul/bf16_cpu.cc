#include "kernels/matmul/bf16_cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "kernels/cpu/isa.h"
#include "kernels/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/bf16_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

// A plain loop, which the compiler vectorizes for each target.
void RoundAll(const float* HWY_RESTRICT x, int64_t count, uint16_t* HWY_RESTRICT rounded) {
  for (int64_t i = 0; i < count; ++i) rounded[i] = ToBF16(x[i]);
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(RoundAll);

bool CpuHasBF16Products() {
#if defined(__x86_64__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & (1u << 5)) != 0;
#else
  return false;
#endif
}

}  // namespace

bool HasBF16Products() {
  static const bool cpu_has = CpuHasBF16Products();
  return cpu_has && ActiveIsa() >= Isa::kVnni;
}

void RoundToBF16(const float* x, int64_t count, uint16_t* rounded) {
  HWY_DYNAMIC_DISPATCH(RoundAll)(x, count, rounded);
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
