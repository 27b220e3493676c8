// The lower bound for decode: the time to read a model's weights and its sequences' states and do
// nothing else. Uses the widest loads of the machine, so that it is also a lower bound for data in
// a cache.
#ifndef WHIPSNAKE_KERNELS_STREAMING_READ_STREAMING_READ_H_
#define WHIPSNAKE_KERNELS_STREAMING_READ_STREAMING_READ_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/context.h"

namespace whipsnake::kernels {

// Reads every byte of the buffers once, one buffer after another. Each thread of the context's team
// reads a contiguous part of each buffer. Returns the sum, modulo 2^64, of the buffers' 64-bit
// words and remaining bytes, so that the compiler cannot remove the reads. Buffers may have any
// alignment.
uint64_t StreamingRead(const Context& context, std::span<const std::span<const std::byte>> buffers);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_STREAMING_READ_STREAMING_READ_H_
