// Keeps oneDNN on the calling thread inside a Team.
#ifndef WHIPSNAKE_KERNELS_CPU_ONEDNN_THREAD_H_
#define WHIPSNAKE_KERNELS_CPU_ONEDNN_THREAD_H_

#include <omp.h>

namespace whipsnake::kernels {

// Stops oneDNN from splitting its work over an OpenMP team of its own: one thread of a Team
// computes each tile. Call it on each thread before that thread calls oneDNN.
inline void KeepOneDnnOnThisThread() {
  thread_local const bool once = (omp_set_num_threads(1), true);
  static_cast<void>(once);
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_ONEDNN_THREAD_H_
