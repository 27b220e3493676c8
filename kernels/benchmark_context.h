// The context in which a kernel benchmark runs.
#ifndef WHIPSNAKE_KERNELS_BENCHMARK_CONTEXT_H_
#define WHIPSNAKE_KERNELS_BENCHMARK_CONTEXT_H_

#include "kernels/context.h"

namespace whipsnake::kernels {

// The CPU with the number of threads that --threads names. Defined by the main function of the
// kernel benchmarks. A benchmark whose argument is a number of threads has a CpuContext of its own.
const Context& BenchmarkContext();

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_BENCHMARK_CONTEXT_H_
