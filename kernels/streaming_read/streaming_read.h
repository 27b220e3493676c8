// The yardstick of decode: how long the machine takes to read a model's weights and the states of
// its sequences, and do nothing else. By the widest loads of the machine, so that it is a floor for
// what lies in a cache too.
#ifndef WHIPSNAKE_KERNELS_STREAMING_READ_STREAMING_READ_H_
#define WHIPSNAKE_KERNELS_STREAMING_READ_STREAMING_READ_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace whipsnake::kernels {

// Reads every byte of the buffers once, one buffer after another, each thread of the current
// team (kernels/cpu/team.h) a contiguous part of each. Returns the sum, modulo 2^64, of the
// buffers' 64-bit words and of the bytes left over, so that the reading is not optimized away. Any
// alignment.
uint64_t StreamingRead(std::span<const std::span<const std::byte>> buffers);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_STREAMING_READ_STREAMING_READ_H_
