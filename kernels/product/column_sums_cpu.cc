#include <algorithm>

#include "kernels/cpu/parallel.h"
#include "kernels/product/product.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/product/column_sums_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
//
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {

// Adds the sums of a group of rows to the columns [begin, end).
void AddGroup(MatrixView<const float> g, int64_t begin, int64_t end, float* sums) {
  ForEachVector(begin, end, [=](int64_t n, auto part) HWY_ATTR {
    FloatVec sum = hn::Zero(Floats());
    for (int64_t m = 0; m < g.rows; ++m) sum = hn::Add(sum, part.Load(g.row(m) + n));
    part.Store(hn::Add(part.Load(sums + n), sum), sums + n);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {

HWY_EXPORT(AddGroup);

void AddColumnSums(const Context& context, MatrixView<const float> g, float* sums) {
  constexpr int64_t kGroup = 64;  // rows
  constexpr double kNanosecondsEach = 0.2;
  ParallelChannels(context, g.cols, kNanosecondsEach * g.rows * g.cols,
                   [&](const Context&, int64_t begin, int64_t end) {
                     for (int64_t m = 0; m < g.rows; m += kGroup) {
                       HWY_DYNAMIC_DISPATCH(AddGroup)
                       (g.Rows(m, std::min(kGroup, g.rows - m)), begin, end, sums);
                     }
                   });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
