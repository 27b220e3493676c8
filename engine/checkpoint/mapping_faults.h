// SIGBUS within the mappings of files is caught, so that a file that shrinks ends no process.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_MAPPING_FAULTS_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_MAPPING_FAULTS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace whipsnake::engine {

// A mapping that is watched. All is atomic, as a signal handler reads it.
struct FaultRange {
  std::atomic<bool> taken{false};
  std::atomic<uintptr_t> begin{0};  // 0: nothing is watched
  std::atomic<size_t> size{0};
  std::atomic<bool> damaged{false};  // a fault was caught in it
};

// Watches a mapping of a file, whose bytes begin at a page, until Unwatch, which comes before
// munmap. Null where 4096 are watched already. The first call installs the handler; sanitizers and
// others that have one get the signals that belong to no mapping. Thread-safe.
FaultRange* WatchFaults(std::span<const std::byte> mapping);
void UnwatchFaults(FaultRange* range);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_MAPPING_FAULTS_H_
