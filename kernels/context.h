// The place where an operation runs.
#ifndef WHIPSNAKE_KERNELS_CONTEXT_H_
#define WHIPSNAKE_KERNELS_CONTEXT_H_

#include <cstdint>
#include <functional>

struct CUstream_st;

namespace whipsnake::kernels {

class Team;
class Workspace;

// The functions of kernels/<op>/<op>.h need kCpu, those of <op>_cuda.h need kCuda.
enum class Device : uint8_t { kCpu, kCuda };

// Lets other work compute between the pieces of long operations. The cut into pieces is a function
// of the operation's shapes and of the number of threads. It is made where the threads' shares are
// cut, so that no result depends on it, bit for bit.
struct Pauses {
  // Called on the caller's thread while neither the team nor a share's thread computes. May run
  // other operations on the same team, with another workspace.
  std::function<void()> pause;
  // The computing time, in nanoseconds, of each thread between two pauses: an estimate.
  double piece = 1e6;
};

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
  // CPU: what a long operation lets in; null for operations in one piece. The operations of
  // training pause, and few others do.
  const Pauses* pauses = nullptr;
  // CUDA: the stream on which work is enqueued, a cudaStream_t; null for the default stream.
  CUstream_st* stream = nullptr;
};

// Called between operations, and by operations between their pieces: lets other work in.
inline void Pause(const Context& context) {
  if (context.pauses != nullptr) context.pauses->pause();
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CONTEXT_H_
