// What this process may use: the cgroup's cpu.max and memory.max and the affinity mask, not the
// host's.
#ifndef WHIPSNAKE_ENGINE_BASE_RESOURCES_H_
#define WHIPSNAKE_ENGINE_BASE_RESOURCES_H_

#include <cstdint>
#include <string>

namespace whipsnake::engine {

struct Resources {
  int threads = 1;           // CPUs in the affinity mask, capped by the cgroup's quota rounded up
  int64_t memory_bytes = 0;  // the cgroup's limit, or the machine's memory if that is less
};

// Reads the limits of this process. `root` stands before /proc and /sys (tests give a made-up
// tree). What cannot be read does not limit.
Resources DetectResources(const std::string& root = "");

// Resident bytes of this process now, and at their highest.
int64_t ResidentBytes();
int64_t PeakResidentBytes();

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_RESOURCES_H_
