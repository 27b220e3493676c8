// Splits the work of operations over the team of a context.
#ifndef WHIPSNAKE_KERNELS_CPU_PARALLEL_H_
#define WHIPSNAKE_KERNELS_CPU_PARALLEL_H_

#include <algorithm>
#include <cstdint>

#include "kernels/context.h"
#include "kernels/cpu/team.h"
#include "kernels/cpu/workspace.h"

namespace whipsnake::kernels {

// Waking a team takes some microseconds. Work that takes one thread less time than this runs on the
// caller alone.
inline constexpr double kWorthATeam = 4000;  // nanoseconds

// The number of threads that share the work of an operation.
inline int Threads(const Context& context) {
  return context.team != nullptr ? context.team->threads() : 1;
}

// The same context without a team and, as its caller may be a share of one, without pauses.
inline Context Alone(Context context) {
  context.team = nullptr;
  context.pauses = nullptr;
  return context;
}

// How many of `count` equal parts the team computes between two pauses of the context, if all of
// them take one thread `nanoseconds`. A multiple of the number of threads, so that each gets as
// many, or `count`.
inline int64_t PartsOfPiece(const Context& context, int64_t count, double nanoseconds) {
  const int threads = Threads(context);
  if (context.pauses == nullptr || nanoseconds <= context.pauses->piece * threads) return count;
  const double each = nanoseconds / static_cast<double>(count);
  const auto parts = static_cast<int64_t>(context.pauses->piece / each);
  return std::min(std::max<int64_t>(parts, 1) * threads, count);
}

// Calls work(begin, end) for one piece of [0, count) after another, as PartsOfPiece() cuts them,
// with pauses between them.
template <typename Work>
void ForEachPiece(const Context& context, int64_t count, double nanoseconds, const Work& work) {
  const int64_t parts = PartsOfPiece(context, count, nanoseconds);
  for (int64_t begin = 0; begin < count; begin += parts) {
    if (begin > 0) Pause(context);
    work(begin, std::min(begin + parts, count));
  }
}

// Calls work(context, share) once for every share in [0, Threads(context)), on the calling thread
// or a worker, and returns when all shares are done. Each share gets a context of its own, with one
// thread and its part of the workspace, for the operations and the scratch memory that it uses. An
// exception that a share throws comes to the caller (see Team::Run).
template <typename Work>
void ForEachShare(const Context& context, const Work& work) {
  const int threads = Threads(context);
  if (context.workspace != nullptr) context.workspace->PrepareShares(threads);
  const auto call = [&](int share) {
    Context own = Alone(context);
    if (own.workspace != nullptr) own.workspace = &own.workspace->share(share);
    work(own, int64_t{share});
  };
  if (threads == 1) return call(0);
  context.team->Run(call);
}

// Calls work(context, begin, end) so that the ranges cover [0, rows) once, with at most one range
// per thread between two pauses; the context is that of the share. `nanoseconds` is the estimated
// time of the work on one thread.
template <typename Work>
void ParallelRows(const Context& context, int64_t rows, double nanoseconds, const Work& work) {
  const Context team = nanoseconds < kWorthATeam || rows <= 1 ? Alone(context) : context;
  const int64_t threads = Threads(team);
  ForEachPiece(team, rows, nanoseconds, [&](int64_t first, int64_t end) {
    const int64_t count = end - first;
    ForEachShare(team, [&](const Context& own, int64_t share) {
      work(own, first + count * share / threads, first + count * (share + 1) / threads);
    });
  });
}

// The same for channels; no range is empty. Every range except the last is a multiple of 64
// channels. That is a multiple of every vector length, so a channel's lane does not depend on the
// number of threads, and of a cache line.
template <typename Work>
void ParallelChannels(const Context& context, int64_t channels, double nanoseconds,
                      const Work& work) {
  constexpr int64_t kGrain = 64;
  const int64_t grains = (channels + kGrain - 1) / kGrain;
  ParallelRows(context, grains, nanoseconds, [&](const Context& own, int64_t begin, int64_t end) {
    if (begin < end) work(own, begin * kGrain, std::min(end * kGrain, channels));
  });
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_PARALLEL_H_
