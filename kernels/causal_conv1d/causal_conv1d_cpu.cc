#include <algorithm>
#include <cstring>

#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/causal_conv1d/causal_conv1d_cpu.cc"
#include "hwy/foreach_target.h"
// Must follow foreach_target.h, which includes this file once per target.
#include "hwy/highway.h"
#include "kernels/activation/activation-inl.h"
#include "kernels/cpu/lanes-inl.h"

#ifndef WHIPSNAKE_KERNELS_CAUSAL_CONV1D_CAUSAL_CONV1D_CPU_CC_
#define WHIPSNAKE_KERNELS_CAUSAL_CONV1D_CAUSAL_CONV1D_CPU_CC_
namespace whipsnake::kernels {

// The fp32 counterpart of QuantizedConvOperands.
struct ConvOperands {
  MatrixView<const float> x;
  const float* weight = nullptr;
  const float* bias = nullptr;
  int64_t width = 0;
  MatrixView<float> y;
};

}  // namespace whipsnake::kernels
#endif  // once for all targets

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

// The sum over the taps starts from InitialSum(), and Output() turns it into y. In fp32 it starts
// from the bias.
template <typename Part>
HWY_INLINE FloatVec InitialSum(const ConvOperands& o, int64_t e, Part part) {
  return o.bias != nullptr ? part.Load(o.bias + e) : hn::Zero(Floats());
}
template <typename Part>
HWY_INLINE FloatVec Output(const ConvOperands&, int64_t, Part, FloatVec sum) {
  return Silu(Floats(), sum);
}

// The products of codes are also summed in fp32. A sum of eight products of at most 2^14 is exact
// there, so it equals the int32 sum. The operations after it are not fused, so that all targets
// round alike.
template <typename Part>
HWY_INLINE FloatVec InitialSum(const QuantizedConvOperands&, int64_t, Part) {
  return hn::Zero(Floats());
}
template <typename Part>
HWY_INLINE FloatVec Output(const QuantizedConvOperands& o, int64_t e, Part part, FloatVec sum) {
  FloatVec v = hn::Mul(part.Load(o.multiplier + e), sum);
  if (o.bias != nullptr) v = hn::Add(part.Load(o.bias + e), v);
  return hn::Mul(part.Load(o.output_multiplier + e), Silu(Floats(), v));
}

// Consecutive rows of a block: enough that inputs and weights are rarely loaded twice, and few
// enough that the rows stay in the first-level cache.
constexpr int64_t kBlock = 4;

// Computes `rows` rows of outputs. input(i) is the row of inputs under the first tap of output row
// i.
template <int kWidth, typename Operands, typename T, typename Input>
HWY_INLINE void ConvBlock(const Operands& o, const Input& input, int64_t rows, int64_t begin,
                          int64_t end, T* y) {
  const T* inputs[kBlock + kWidth - 1];
  for (int64_t i = 0; i < rows + kWidth - 1; ++i) inputs[i] = input(i);
  ForEachVector(begin, end, [&](int64_t e, auto part) HWY_ATTR {
    FloatVec weight[kWidth], window[kWidth];
#pragma GCC unroll 8
    for (int k = 0; k < kWidth; ++k) {
      weight[k] = LoadLanes(part, o.weight + k * o.x.cols + e);
      if (k + 1 < kWidth) window[k + 1] = LoadLanes(part, inputs[k] + e);
    }
    for (int64_t i = 0; i < rows; ++i) {
      FloatVec sum = InitialSum(o, e, part);
#pragma GCC unroll 8
      for (int k = 0; k < kWidth; ++k) {
        window[k] = k + 1 < kWidth ? window[k + 1] : LoadLanes(part, inputs[i + k] + e);
        sum = hn::MulAdd(weight[k], window[k], sum);
      }
      StoreLanes(part, Output(o, e, part, sum), y + i * o.y.stride + e);
    }
  });
}

template <int kWidth, typename Operands, typename T>
void ConvRows(const Operands& o, const BasicConvRun<T>& run, int64_t begin, int64_t end) {
  // The rows of the state followed by those of the run: all inputs in the order of time.
  const auto input = [&](int64_t i) -> const T* {
    return i < kWidth - 1 ? run.state + i * o.x.cols : o.x.row(run.begin + i - (kWidth - 1));
  };
  for (int64_t t = 0; t < run.length; t += kBlock) {
    ConvBlock<kWidth>(
        o, [&](int64_t i) { return input(t + i); }, std::min(kBlock, run.length - t), begin, end,
        o.y.row(run.begin + t));
  }
  // Update the oldest row first, so that each row of the state is read before it is overwritten.
  for (int64_t k = 0; k < kWidth - 1; ++k) {
    std::memcpy(run.state + k * o.x.cols + begin, input(run.length + k) + begin,
                (end - begin) * sizeof(T));
  }
}

template <typename Operands, typename T>
void ConvChannels(const Operands& o, const BasicConvRun<T>& run, int64_t begin, int64_t end) {
  constexpr decltype(&ConvRows<1, Operands, T>) kByWidth[] = {
      ConvRows<1, Operands, T>, ConvRows<2, Operands, T>, ConvRows<3, Operands, T>,
      ConvRows<4, Operands, T>, ConvRows<5, Operands, T>, ConvRows<6, Operands, T>,
      ConvRows<7, Operands, T>, ConvRows<8, Operands, T>};
  kByWidth[o.width - 1](o, run, begin, end);
}

void FloatConvChannels(const ConvOperands& o, const ConvRun& run, int64_t begin, int64_t end) {
  ConvChannels(o, run, begin, end);
}
void QuantizedConvChannels(const QuantizedConvOperands& o, const QuantizedConvRun& run,
                           int64_t begin, int64_t end) {
  ConvChannels(o, run, begin, end);
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(FloatConvChannels);
HWY_EXPORT(QuantizedConvChannels);

template <typename Operands, typename T>
void ConvRuns(const Context& context, std::span<const BasicConvRun<T>> runs, const Operands& o,
              void (*convolve)(const Operands& o, const BasicConvRun<T>& run, int64_t begin,
                               int64_t end)) {
  constexpr double kNanosecondsEach = 0.7;
  int64_t rows = 0;
  for (const BasicConvRun<T>& run : runs) rows += run.length;
  ParallelChannels(context, o.x.cols, kNanosecondsEach * rows * o.x.cols,
                   [&](const Context&, int64_t begin, int64_t end) {
                     for (const BasicConvRun<T>& run : runs) convolve(o, run, begin, end);
                   });
}

}  // namespace

void CausalConv1dSilu(const Context& context, std::span<const ConvRun> runs,
                      MatrixView<const float> x, const float* weight, const float* bias,
                      int64_t width, MatrixView<float> y) {
  ConvRuns(context, runs, ConvOperands{x, weight, bias, width, y},
           HWY_DYNAMIC_DISPATCH(FloatConvChannels));
}

void CausalConv1dSilu(const Context& context, std::span<const QuantizedConvRun> runs,
                      const QuantizedConvOperands& operands) {
  ConvRuns(context, runs, operands, HWY_DYNAMIC_DISPATCH(QuantizedConvChannels));
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
