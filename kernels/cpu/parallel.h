// Splits the work of vector kernels over the caller's team.
#ifndef WHIPSNAKE_KERNELS_CPU_PARALLEL_H_
#define WHIPSNAKE_KERNELS_CPU_PARALLEL_H_

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/team.h"

namespace whipsnake::kernels {

// Waking a team takes some microseconds. Work that takes one thread less time than this runs on the
// caller alone.
inline constexpr double kWorthATeam = 4000;  // nanoseconds

// Calls work(begin, end) so that the ranges cover [0, channels) once, with at most one range per
// thread. Every range except the last is a multiple of 64 channels. That is a multiple of every
// vector length, so a channel's lane does not depend on the number of threads, and of a cache line.
// `nanoseconds` is the estimated time of the work on one thread.
template <typename Work>
void ParallelChannels(int64_t channels, double nanoseconds, const Work& work) {
  constexpr int64_t kGrain = 64;
  const int64_t grains = (channels + kGrain - 1) / kGrain;
  Team& team = Team::Current();
  if (nanoseconds < kWorthATeam || grains <= 1 || team.threads() == 1) {
    work(int64_t{0}, channels);
    return;
  }
  team.Run([&](int64_t share) {
    const int64_t begin = grains * share / team.threads() * kGrain;
    const int64_t end = std::min(grains * (share + 1) / team.threads() * kGrain, channels);
    if (begin < end) work(begin, end);
  });
}

// Calls work(begin, end) so that the ranges cover [0, rows) once, with at most one range per
// thread. `nanoseconds` is the estimated time of the work on one thread.
template <typename Work>
void ParallelRows(int64_t rows, double nanoseconds, const Work& work) {
  Team& team = Team::Current();
  if (nanoseconds < kWorthATeam || rows <= 1 || team.threads() == 1) {
    work(int64_t{0}, rows);
    return;
  }
  team.Run([&](int64_t share) {
    work(rows * share / team.threads(), rows * (share + 1) / team.threads());
  });
}

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_PARALLEL_H_
