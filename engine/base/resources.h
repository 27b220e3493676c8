// The CPUs and memory that this process may use, according to the limits of its cgroup (version 2
// or 1) and the affinity mask rather than the host alone.
#ifndef WHIPSNAKE_ENGINE_BASE_RESOURCES_H_
#define WHIPSNAKE_ENGINE_BASE_RESOURCES_H_

#include <cstdint>
#include <string>

namespace whipsnake::engine {

struct Resources {
  int threads = 1;           // CPUs in the affinity mask, capped by the cgroup's quota (rounded up)
  int64_t memory_bytes = 0;  // the cgroup's limit, or the machine's memory if that is less
};

// Reads the limits of this process. `root` is a prefix for /proc and /sys (tests pass a fake tree).
// Limits that cannot be read are ignored.
Resources DetectResources(const std::string& root = "");

// Resident memory of this process in bytes, now and at its peak; 0 if it cannot be read.
int64_t ResidentBytes();
int64_t PeakResidentBytes();

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_RESOURCES_H_
