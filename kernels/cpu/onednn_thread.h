// oneDNN inside a team of ours.
#ifndef WHIPSNAKE_KERNELS_CPU_ONEDNN_THREAD_H_
#define WHIPSNAKE_KERNELS_CPU_ONEDNN_THREAD_H_

#include <omp.h>

namespace whipsnake::kernels {

// oneDNN would share a tile out to an OpenMP team of its own: one thread of our team is enough for
// it. Call it on the thread that is about to call oneDNN.
inline void KeepOneDnnOnThisThread() {
  thread_local const bool once = (omp_set_num_threads(1), true);
  static_cast<void>(once);
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_ONEDNN_THREAD_H_
