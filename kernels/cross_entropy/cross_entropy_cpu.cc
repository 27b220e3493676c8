#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/parallel.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/cross_entropy/row_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cross_entropy/cross_entropy_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
//
#include "kernels/activation/activation-inl.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {

// Sums of this many terms are fp32, sums of such blocks fp64.
constexpr int64_t kBlock = 1024;

// Replaces the missing lanes of a partial vector.
HWY_INLINE FloatVec Completed(FullVector, FloatVec v, float) { return v; }
HWY_INLINE FloatVec Completed(PartOfVector part, FloatVec v, float value) {
  return hn::IfThenElse(hn::FirstN(Floats(), part.count), v, hn::Set(Floats(), value));
}

HWY_INLINE double SumOf(FloatVec v) { return hn::GetLane(hn::SumOfLanes(Floats(), v)); }

float LargestLogit(const float* logits, int64_t classes) {
  constexpr float kLeast = -std::numeric_limits<float>::infinity();
  FloatVec largest = hn::Set(Floats(), kLeast);
  ForEachVector(0, classes, [&](int64_t v, auto part) HWY_ATTR {
    largest = hn::Max(largest, Completed(part, part.Load(logits + v), kLeast));
  });
  return hn::GetLane(hn::MaxOfLanes(Floats(), largest));
}

// Returns the first class with this logit, or 0 if there is none.
int64_t FirstWithLogit(const float* logits, int64_t classes, float logit) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  const FloatVec wanted = hn::Set(Floats(), logit);
  int64_t v = 0;
  while (v + lanes <= classes &&
         hn::AllFalse(Floats(), hn::Eq(hn::LoadU(Floats(), logits + v), wanted))) {
    v += lanes;
  }
  const float* const found = std::find(logits + v, logits + classes, logit);
  return found == logits + classes ? 0 : found - logits;
}

// Passes each exponential to store(v, part, exponential).
template <typename Store>
HWY_INLINE RowSums SumRow(const float* logits, int64_t classes, float largest, const Store& store) {
  const Floats d;
  const FloatVec shift = hn::Set(d, largest);
  RowSums sums;
  for (int64_t begin = 0; begin < classes; begin += kBlock) {
    FloatVec exponentials = hn::Zero(d), total = hn::Zero(d);
    ForEachVector(begin, std::min(begin + kBlock, classes), [&](int64_t v, auto part) HWY_ATTR {
      const FloatVec logit = part.Load(logits + v);
      const FloatVec exponential = Exp(d, hn::Sub(logit, shift));
      store(v, part, exponential);
      exponentials = hn::Add(exponentials, Completed(part, exponential, 0));
      total = hn::Add(total, logit);
    });
    sums.exponentials += SumOf(exponentials);
    sums.logits += SumOf(total);
  }
  return sums;
}

RowSums SumLogits(const float* logits, int64_t classes, float largest) {
  return SumRow(logits, classes, largest, [](int64_t, auto, FloatVec) HWY_ATTR {});
}
// Replaces the logits by their exponentials.
RowSums SumAndReplaceLogits(float* logits, int64_t classes, float largest) {
  return SumRow(logits, classes, largest, [=](int64_t v, auto part, FloatVec exponential) HWY_ATTR {
    part.Store(exponential, logits + v);
  });
}

void ScaleAndShift(float scale, float shift, int64_t classes, float* values) {
  ForEachVector(0, classes, [=](int64_t v, auto part) HWY_ATTR {
    part.Store(
        hn::MulAdd(part.Load(values + v), hn::Set(Floats(), scale), hn::Set(Floats(), shift)),
        values + v);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(LargestLogit);
HWY_EXPORT(FirstWithLogit);
HWY_EXPORT(SumLogits);
HWY_EXPORT(SumAndReplaceLogits);
HWY_EXPORT(ScaleAndShift);

template <typename Work>
void ForEachRow(const Context& context, int64_t rows, int64_t classes, const Work& work) {
  constexpr double kNanosecondsEach = 0.5;
  ParallelRows(context, rows, kNanosecondsEach * rows * classes,
               [&](const Context&, int64_t begin, int64_t end) {
                 for (int64_t r = begin; r < end; ++r) work(r);
               });
}

// Writes the row's loss and prediction. sum(largest) sums the row and may overwrite it. Returns the
// sum of exponentials.
template <typename Sum>
double FinishRow(const float* logits, int64_t classes, int64_t r,
                 const CrossEntropyOperands& operands, const Sum& sum) {
  const float largest = HWY_DYNAMIC_DISPATCH(LargestLogit)(logits, classes);
  if (operands.predictions != nullptr) {
    operands.predictions[r] =
        static_cast<int32_t>(HWY_DYNAMIC_DISPATCH(FirstWithLogit)(logits, classes, largest));
  }
  if (operands.targets[r] == kIgnoredTarget) {
    operands.losses[r] = 0;
    return 0;
  }
  const double smoothing = operands.smoothing, of_target = logits[operands.targets[r]];
  const RowSums sums = sum(largest);
  double expected = (1 - smoothing) * of_target;
  if (smoothing > 0) expected += smoothing / classes * sums.logits;
  operands.losses[r] = static_cast<float>(largest + std::log(sums.exponentials) - expected);
  return sums.exponentials;
}

}  // namespace

void CrossEntropy(const Context& context, MatrixView<const float> logits,
                  const CrossEntropyOperands& operands) {
  const int64_t classes = logits.cols;
  ForEachRow(context, logits.rows, classes, [&](int64_t r) {
    const float* const row = logits.row(r);
    FinishRow(row, classes, r, operands, [=](float largest) {
      return HWY_DYNAMIC_DISPATCH(SumLogits)(row, classes, largest);
    });
  });
}

void CrossEntropyWithGradient(const Context& context, MatrixView<float> logits,
                              const float* factors, const CrossEntropyOperands& operands) {
  const int64_t classes = logits.cols;
  const float smoothing = operands.smoothing;
  ForEachRow(context, logits.rows, classes, [&](int64_t r) {
    float* const row = logits.row(r);
    const double sum = FinishRow(row, classes, r, operands, [=](float largest) {
      return HWY_DYNAMIC_DISPATCH(SumAndReplaceLogits)(row, classes, largest);
    });
    const int32_t target = operands.targets[r];
    if (target == kIgnoredTarget) {
      std::fill_n(row, classes, 0.0f);
      return;
    }
    const float scale = static_cast<float>(factors[r] / sum);
    HWY_DYNAMIC_DISPATCH(ScaleAndShift)(scale, -factors[r] * smoothing / classes, classes, row);
    row[target] -= factors[r] * (1 - smoothing);
  });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
