#include "kernels/activation/activation.h"
#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation/activation_cpu.cc"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/highway.h"
#include "kernels/activation/activation-inl.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

void SiluRange(const float* x, int64_t begin, int64_t end, float* y) {
  ForEachVector(begin, end, [=](int64_t i, auto part) HWY_ATTR {
    part.Store(Silu(Floats(), part.Load(x + i)), y + i);
  });
}

void SoftplusRange(const float* x, int64_t begin, int64_t end, float* y) {
  ForEachVector(begin, end, [=](int64_t i, auto part) HWY_ATTR {
    part.Store(Softplus(Floats(), part.Load(x + i)), y + i);
  });
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {

HWY_EXPORT(SiluRange);
HWY_EXPORT(SoftplusRange);

void Silu(const float* x, int64_t n, float* y) {
  constexpr double kNanosecondsEach = 0.27;
  ParallelChannels(n, kNanosecondsEach * n, [=](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(SiluRange)(x, begin, end, y);
  });
}

void Softplus(const float* x, int64_t n, float* y) {
  constexpr double kNanosecondsEach = 0.44;
  ParallelChannels(n, kNanosecondsEach * n, [=](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(SoftplusRange)(x, begin, end, y);
  });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
