// The place where an operation runs.
#ifndef WHIPSNAKE_KERNELS_CONTEXT_H_
#define WHIPSNAKE_KERNELS_CONTEXT_H_

#include <cstdint>

struct CUstream_st;

namespace whipsnake::kernels {

class Team;
class Workspace;

// The functions of kernels/<op>/<op>.h need kCpu, those of <op>_cuda.h need kCuda.
enum class Device : uint8_t { kCpu, kCuda };

// The first argument of every operation. A default-constructed context is the CPU with one thread
// and no kept memory: for tests, for tools, and for the work inside a share of a team.
//
// A context is a small value that is copied freely. It owns nothing: whoever owns the team and the
// workspace keeps them alive while operations use the context. Operations may run at the same time
// only if their contexts share neither a team nor a workspace; so an operation inside a share gets
// that share's context (see ForEachShare in kernels/cpu/parallel.h) and never the whole team's.
struct Context {
  Device device = Device::kCpu;
  // CPU: the threads that share the work (kernels/cpu/team.h); null for the calling thread alone.
  Team* team = nullptr;
  // CPU: the scratch memory that operations keep (kernels/cpu/workspace.h); null if each operation
  // allocates and frees its own.
  Workspace* workspace = nullptr;
  // CUDA: the stream on which work is enqueued, a cudaStream_t; null for the default stream.
  CUstream_st* stream = nullptr;
};

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CONTEXT_H_
