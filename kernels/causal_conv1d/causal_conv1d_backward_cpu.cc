// The backward pass walks through the tokens of a sequence from the last to the first. So the
// derivatives s of the following rows, which the gradient of an input needs, are known already, and
// a window of them slides along with the window of inputs.
#include <algorithm>

#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/causal_conv1d/causal_conv1d_backward_cpu.cc"
#include "hwy/foreach_target.h"
// Must follow foreach_target.h, which includes this file once per target.
#include "hwy/highway.h"
#include "kernels/activation/activation-inl.h"
#include "kernels/cpu/lanes-inl.h"

#ifndef WHIPSNAKE_KERNELS_CAUSAL_CONV1D_CAUSAL_CONV1D_BACKWARD_CPU_CC_
#define WHIPSNAKE_KERNELS_CAUSAL_CONV1D_CAUSAL_CONV1D_BACKWARD_CPU_CC_
namespace whipsnake::kernels {

struct ConvBackwardOperands {
  MatrixView<const float> x;
  const float* weight = nullptr;
  const float* bias = nullptr;
  int64_t width = 0;
  MatrixView<const float> g;
  CausalConv1dGradients gradients;
};

}  // namespace whipsnake::kernels
#endif  // once for all targets

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels::HWY_NAMESPACE {

// Consecutive rows of a block: enough that the windows, the weights and their gradients are rarely
// loaded and stored, and few enough that the rows stay in the first-level cache.
constexpr int64_t kBackwardBlock = 8;

// Processes the rows [first, first + rows). inputs[i] is row first - (W-1) + i of x. later[W-1,E]
// holds s of the rows after the block, and is replaced by s of the block's first rows.
template <int kWidth>
HWY_INLINE void BackwardBlock(const ConvBackwardOperands& o, const float* const* inputs,
                              int64_t first, int64_t rows, int64_t begin, int64_t end,
                              float* later) {
  const Floats d;
  const int64_t channels = o.x.cols;
  ForEachVector(begin, end, [&](int64_t e, auto part) HWY_ATTR {
    const FloatVec bias = o.bias != nullptr ? part.Load(o.bias + e) : hn::Zero(d);
    // At row t, x[k] is the input under tap k, and s[k] belongs to row t + k.
    FloatVec weight[kWidth], x[kWidth], s[kWidth], gweight[kWidth], gbias = hn::Zero(d);
#pragma GCC unroll 8
    for (int k = 0; k < kWidth; ++k) {
      weight[k] = part.Load(o.weight + k * channels + e);
      gweight[k] = hn::Zero(d);
    }
#pragma GCC unroll 8
    for (int k = 0; k < kWidth - 1; ++k) {
      x[k] = part.Load(inputs[rows + k] + e);
      s[k] = part.Load(later + k * channels + e);
    }
    for (int64_t t = rows - 1; t >= 0; --t) {
#pragma GCC unroll 8
      for (int k = kWidth - 1; k > 0; --k) {
        x[k] = x[k - 1];
        s[k] = s[k - 1];
      }
      x[0] = part.Load(inputs[t] + e);
      FloatVec v = bias;
#pragma GCC unroll 8
      for (int k = 0; k < kWidth; ++k) v = hn::MulAdd(weight[k], x[k], v);
      s[0] = hn::Mul(part.Load(o.g.row(first + t) + e),
                     ActivationSlope<Activation::kSilu>(d, v, hn::Zero(d)));
      FloatVec gx = hn::Zero(d);
#pragma GCC unroll 8
      for (int k = 0; k < kWidth; ++k) {
        gx = hn::MulAdd(weight[k], s[kWidth - 1 - k], gx);
        gweight[k] = hn::MulAdd(s[0], x[k], gweight[k]);
      }
      gbias = hn::Add(gbias, s[0]);
      part.Store(gx, o.gradients.x.row(first + t) + e);
    }
#pragma GCC unroll 8
    for (int k = 0; k < kWidth - 1; ++k) part.Store(s[k], later + k * channels + e);
    if (o.gradients.weight != nullptr) {
#pragma GCC unroll 8
      for (int k = 0; k < kWidth; ++k) {
        AddTo(o.gradients.weight + k * channels + e, gweight[k], part);
      }
    }
    if (o.gradients.bias != nullptr) AddTo(o.gradients.bias + e, gbias, part);
  });
}

// Processes the channels [begin, end) of a sequence. scratch[W,E] is overwritten.
template <int kWidth>
void BackwardRowsOf(const ConvBackwardOperands& o, RowRange sequence, int64_t begin, int64_t end,
                    float* scratch) {
  const int64_t channels = o.x.cols;
  std::fill_n(scratch, kWidth * channels, 0.0f);
  const float* zeros = scratch;  // an input before the sequence
  float* later = scratch + channels;
  const auto input = [&](int64_t t) { return t < 0 ? zeros : o.x.row(sequence.begin + t); };
  const int64_t blocks = (sequence.length + kBackwardBlock - 1) / kBackwardBlock;
  for (int64_t block = blocks - 1; block >= 0; --block) {
    const int64_t first = block * kBackwardBlock;
    const int64_t rows = std::min(kBackwardBlock, sequence.length - first);
    const float* inputs[kBackwardBlock + kWidth - 1];
    for (int64_t i = 0; i < rows + kWidth - 1; ++i) inputs[i] = input(first - (kWidth - 1) + i);
    BackwardBlock<kWidth>(o, inputs, sequence.begin + first, rows, begin, end, later);
  }
}

void ConvBackwardChannels(const ConvBackwardOperands& o, RowRange sequence, int64_t begin,
                          int64_t end, float* scratch) {
  constexpr decltype(&BackwardRowsOf<1>) kByWidth[] = {
      BackwardRowsOf<1>, BackwardRowsOf<2>, BackwardRowsOf<3>, BackwardRowsOf<4>,
      BackwardRowsOf<5>, BackwardRowsOf<6>, BackwardRowsOf<7>, BackwardRowsOf<8>};
  kByWidth[o.width - 1](o, sequence, begin, end, scratch);
}

}  // namespace whipsnake::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(ConvBackwardChannels);

}  // namespace

void CausalConv1dSiluBackward(const Context& context, std::span<const RowRange> sequences,
                              MatrixView<const float> x, const float* weight, const float* bias,
                              int64_t width, MatrixView<const float> g,
                              const CausalConv1dGradients& gradients) {
  constexpr double kNanosecondsEach = 0.9;
  const ConvBackwardOperands o{x, weight, bias, width, g, gradients};
  int64_t rows = 0;
  for (const RowRange& sequence : sequences) rows += sequence.length;
  ParallelChannels(context, x.cols, kNanosecondsEach * rows * x.cols,
                   [&](const Context& own, int64_t begin, int64_t end) {
                     OperationScratch scratch(own);
                     float* memory = scratch.Get<float>(width * x.cols);
                     for (const RowRange& sequence : sequences) {
                       HWY_DYNAMIC_DISPATCH(ConvBackwardChannels)(o, sequence, begin, end, memory);
                     }
                   });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
