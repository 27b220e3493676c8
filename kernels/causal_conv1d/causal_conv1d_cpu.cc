#include <cstring>

#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/causal_conv1d/causal_conv1d_cpu.cc"
#include "hwy/foreach_target.h"
// After foreach_target, which includes this file once per target.
#include "hwy/highway.h"
#include "kernels/activation/activation-inl.h"
#include "kernels/cpu/lanes-inl.h"

#ifndef WHIPSNAKE_KERNELS_CAUSAL_CONV1D_CAUSAL_CONV1D_CPU_CC_
#define WHIPSNAKE_KERNELS_CAUSAL_CONV1D_CAUSAL_CONV1D_CPU_CC_
namespace whipsnake::kernels {

struct ConvOperands {
  MatrixView<const float> x;
  const float* weight;
  const float* bias;
  MatrixView<float> y;
};

}  // namespace whipsnake::kernels
#endif  // once for all targets

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

// One row: window[k] is the row of inputs under tap k.
template <int kWidth>
HWY_INLINE void ConvRow(const ConvOperands& o, const float* const (&window)[8], int64_t begin,
                        int64_t end, float* y) {
  const Floats d;
  const int64_t channels = o.x.cols;
  ForEachVector(begin, end, [&](int64_t e, auto part) HWY_ATTR {
    FloatVec sum = o.bias != nullptr ? part.Load(o.bias + e) : hn::Zero(d);
#pragma GCC unroll 8
    for (int k = 0; k < kWidth; ++k) {
      sum = hn::MulAdd(part.Load(o.weight + k * channels + e), part.Load(window[k] + e), sum);
    }
    part.Store(Silu(d, sum), y + e);
  });
}

template <int kWidth>
void ConvRows(const ConvOperands& o, const ConvRun& run, int64_t begin, int64_t end) {
  // The state's rows followed by the run's: the inputs in the order of time.
  const auto input = [&](int64_t i) {
    return i < kWidth - 1 ? run.state + i * o.x.cols : o.x.row(run.begin + i - (kWidth - 1));
  };
  for (int64_t t = 0; t < run.length; ++t) {
    const float* window[8];
    for (int k = 0; k < kWidth; ++k) window[k] = input(t + k);
    ConvRow<kWidth>(o, window, begin, end, o.y.row(run.begin + t));
  }
  // Oldest first, so that a row of the state is read before it is overwritten.
  for (int64_t k = 0; k < kWidth - 1; ++k) {
    std::memcpy(run.state + k * o.x.cols + begin, input(run.length + k) + begin,
                (end - begin) * sizeof(float));
  }
}

void ConvChannels(const ConvOperands& o, const ConvRun& run, int64_t width, int64_t begin,
                  int64_t end) {
  constexpr decltype(&ConvRows<1>) kByWidth[] = {ConvRows<1>, ConvRows<2>, ConvRows<3>,
                                                 ConvRows<4>, ConvRows<5>, ConvRows<6>,
                                                 ConvRows<7>, ConvRows<8>};
  kByWidth[width - 1](o, run, begin, end);
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {

HWY_EXPORT(ConvChannels);

void CausalConv1dSilu(std::span<const ConvRun> runs, MatrixView<const float> x, const float* weight,
                      const float* bias, int64_t width, MatrixView<float> y) {
  constexpr double kNanosecondsEach = 0.7;
  int64_t rows = 0;
  for (const ConvRun& run : runs) rows += run.length;
  ParallelChannels(x.cols, kNanosecondsEach * rows * x.cols, [&](int64_t begin, int64_t end) {
    for (const ConvRun& run : runs) {
      HWY_DYNAMIC_DISPATCH(ConvChannels)({x, weight, bias, y}, run, width, begin, end);
    }
  });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
