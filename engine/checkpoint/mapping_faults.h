// Catches SIGBUS in mapped files, so that a file that shrinks does not end the process.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_MAPPING_FAULTS_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_MAPPING_FAULTS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace whipsnake::engine {

// A watched mapping. All fields are atomic, because a signal handler reads them.
struct FaultRange {
  std::atomic<bool> taken{false};
  std::atomic<uintptr_t> begin{0};  // 0 if nothing is watched
  std::atomic<size_t> size{0};
  std::atomic<bool> damaged{false};  // whether a fault was caught in it
};

// Watches a mapping of a file, which begins at a page boundary, until UnwatchFaults, which must be
// called before munmap. Returns null if 4096 mappings are already watched or the handler cannot be
// installed. The first call installs the handler. Signals outside the watched mappings go to the
// handler that was there before, such as a sanitizer's. Thread-safe.
FaultRange* WatchFaults(std::span<const std::byte> mapping);
void UnwatchFaults(FaultRange* range);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_MAPPING_FAULTS_H_
