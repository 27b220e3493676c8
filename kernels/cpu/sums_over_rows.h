// Sums over the rows of a matrix that do not depend on the number of threads: the rows are taken in
// fixed groups, and the sums of the groups are added in order.
#ifndef WHIPSNAKE_KERNELS_CPU_SUMS_OVER_ROWS_H_
#define WHIPSNAKE_KERNELS_CPU_SUMS_OVER_ROWS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/context.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace whipsnake::kernels {

// Calls work(begin, end, sums) for every group of rows [begin, end), on the context's team. `work`
// adds the group's terms to sums[count,columns], which starts as zeros. Then adds the sums of all
// groups to totals[i], [columns] each; a null total is not wanted. `nanoseconds` is as in
// ParallelRows().
template <size_t count, typename Work>
void SumOverRows(const Context& context, int64_t rows, int64_t columns, double nanoseconds,
                 const std::array<float*, count>& totals, const Work& work) {
  constexpr int64_t kGroup = 64;
  const int64_t groups = (rows + kGroup - 1) / kGroup, size = count * columns;
  OperationScratch scratch(context);
  float* sums = scratch.Get<float>(groups * size);
  ParallelRows(context, groups, nanoseconds, [&](const Context&, int64_t begin, int64_t end) {
    std::fill(sums + begin * size, sums + end * size, 0.0f);
    for (int64_t group = begin; group < end; ++group) {
      work(group * kGroup, std::min((group + 1) * kGroup, rows), sums + group * size);
    }
  });
  for (int64_t group = 0; group < groups; ++group) {
    for (size_t i = 0; i < count; ++i) {
      if (totals[i] == nullptr) continue;
      const float* sum = sums + group * size + i * columns;
      for (int64_t column = 0; column < columns; ++column) totals[i][column] += sum[column];
    }
  }
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_SUMS_OVER_ROWS_H_
