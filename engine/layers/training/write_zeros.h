// Zeroes tensors of a training step, which are large.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_WRITE_ZEROS_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_WRITE_ZEROS_H_

#include <algorithm>
#include <cstdint>

#include "kernels/context.h"
#include "kernels/cpu/parallel.h"

namespace whipsnake::engine {

// Writes zeros to to[count], on the context's team and with its pauses.
template <typename T>
void WriteZeros(const kernels::Context& context, T* to, int64_t count) {
  constexpr double kNanosecondsPerByte = 0.4;  // of memory that the system gives only now
  kernels::ParallelChannels(context, count,
                            kNanosecondsPerByte * sizeof(T) * static_cast<double>(count),
                            [=](const kernels::Context&, int64_t begin, int64_t end) {
                              std::fill(to + begin, to + end, T());
                            });
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_WRITE_ZEROS_H_
