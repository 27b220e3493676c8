#include "kernels/addition/addition.h"
#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/addition/addition_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
//
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {

void AddRows(MatrixView<const float> a, MatrixView<const float> b, int64_t begin, int64_t end,
             MatrixView<float> y) {
  for (int64_t t = begin; t < end; ++t) {
    const float *first = a.row(t), *second = b.row(t);
    float* sum = y.row(t);
    ForEachVector(0, y.cols, [=](int64_t i, auto part) HWY_ATTR {
      part.Store(hn::Add(part.Load(first + i), part.Load(second + i)), sum + i);
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {

HWY_EXPORT(AddRows);

void Add(const Context& context, MatrixView<const float> a, MatrixView<const float> b,
         MatrixView<float> y) {
  constexpr double kNanosecondsEach = 0.5;
  const auto rows = HWY_DYNAMIC_DISPATCH(AddRows);
  ParallelRows(context, y.rows, kNanosecondsEach * static_cast<double>(y.rows * y.cols),
               [&](const Context&, int64_t begin, int64_t end) { rows(a, b, begin, end, y); });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
