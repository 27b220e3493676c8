#include <algorithm>
#include <cstdint>

#include "kernels/addition/addition.h"
#include "kernels/cpu/parallel.h"
#include "kernels/dropout/dropout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dropout/dropout_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
//
#include "kernels/cpu/lanes-inl.h"
#include "kernels/dropout/dropout-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {

// Calls write(i, factors, FullVector or PartOfVector) for each vector of the columns of row t.
template <typename Write>
HWY_INLINE void ForEachFactor(const DropoutFactors& mask, int64_t t, int64_t columns,
                              const Write& write) {
  const Words d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const WordVec row = hn::Set(d, static_cast<uint32_t>(t));
  HWY_ALIGN float ordered[4 * hn::MaxLanes(Floats())];
  for (int64_t begin = 0; begin < columns; begin += 4 * lanes) {
    FloatVec factors[4];
    mask.Compute(row, hn::Iota(d, static_cast<uint32_t>(begin / 4)), factors);
    hn::StoreInterleaved4(factors[0], factors[1], factors[2], factors[3], Floats(), ordered);
    ForEachVector(begin, std::min(begin + 4 * lanes, columns), [&](int64_t i, auto part) HWY_ATTR {
      write(i, hn::Load(Floats(), ordered + (i - begin)), part);
    });
  }
}

void DropoutRows(const DropoutMask& mask, int64_t begin, int64_t end, MatrixView<const float> x,
                 MatrixView<float> y) {
  const DropoutFactors factors(mask);
  for (int64_t t = begin; t < end; ++t) {
    const float* from = x.row(t);
    float* to = y.row(t);
    ForEachFactor(factors, t, x.cols, [=](int64_t i, FloatVec factor, auto part) HWY_ATTR {
      part.Store(hn::Mul(part.Load(from + i), factor), to + i);
    });
  }
}

void AddDropoutRows(const DropoutMask& mask, int64_t begin, int64_t end, MatrixView<const float> x,
                    MatrixView<const float> r, MatrixView<float> y) {
  const DropoutFactors factors(mask);
  for (int64_t t = begin; t < end; ++t) {
    const float* from = x.row(t);
    const float* addend = r.row(t);
    float* to = y.row(t);
    ForEachFactor(factors, t, x.cols, [=](int64_t i, FloatVec factor, auto part) HWY_ATTR {
      const FloatVec kept = hn::Mul(part.Load(from + i), factor);
      part.Store(hn::Add(part.Load(addend + i), kept), to + i);
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(DropoutRows);
HWY_EXPORT(AddDropoutRows);

double Nanoseconds(MatrixView<const float> x) {
  constexpr double kNanosecondsEach = 0.6;
  return kNanosecondsEach * static_cast<double>(x.rows * x.cols);
}

// y = x, where y may be x.
void Copy(const Context& context, MatrixView<const float> x, MatrixView<float> y) {
  if (y.data == x.data) return;
  ParallelRows(context, x.rows, Nanoseconds(x), [&](const Context&, int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) std::copy_n(x.row(t), x.cols, y.row(t));
  });
}

}  // namespace

void Dropout(const Context& context, const DropoutMask& mask, MatrixView<const float> x,
             MatrixView<float> y) {
  if (mask.probability == 0) return Copy(context, x, y);
  const auto rows = HWY_DYNAMIC_DISPATCH(DropoutRows);
  ParallelRows(context, x.rows, Nanoseconds(x),
               [&](const Context&, int64_t begin, int64_t end) { rows(mask, begin, end, x, y); });
}

void AddDropout(const Context& context, const DropoutMask& mask, MatrixView<const float> x,
                MatrixView<const float> r, MatrixView<float> y) {
  if (mask.probability == 0) return Add(context, r, x, y);
  const auto rows = HWY_DYNAMIC_DISPATCH(AddDropoutRows);
  ParallelRows(context, x.rows, Nanoseconds(x), [&](const Context&, int64_t begin, int64_t end) {
    rows(mask, begin, end, x, r, y);
  });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
