// The work on a stored tensor, row by row.
#ifndef WHIPSNAKE_KERNELS_COMPRESSION_FOR_EACH_ROW_H_
#define WHIPSNAKE_KERNELS_COMPRESSION_FOR_EACH_ROW_H_

#include <cstdint>

#include "kernels/context.h"
#include "kernels/cpu/parallel.h"
#include "kernels/matrix.h"

namespace whipsnake::kernels {

// Calls work(t) for every row of x, on the context's team. An element takes about a third of a
// nanosecond.
template <typename Work>
void ForEachRow(const Context& context, MatrixView<const float> x, const Work& work) {
  constexpr double kNanosecondsEach = 0.3;
  ParallelRows(context, x.rows, kNanosecondsEach * static_cast<double>(x.rows * x.cols),
               [&](const Context&, int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) work(t);
               });
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_COMPRESSION_FOR_EACH_ROW_H_
