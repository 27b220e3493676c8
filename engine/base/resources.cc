#include "engine/base/resources.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <thread>

namespace whipsnake::engine {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// Returns, in bytes, the value of a line "key:   123 kB" of a file such as /proc/meminfo, or
// `otherwise` if there is none.
int64_t ReadKilobytes(const std::string& path, const std::string& key, int64_t otherwise) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.compare(0, key.size() + 1, key + ":") != 0) continue;
    int64_t kilobytes;
    if (std::istringstream(line.substr(key.size() + 1)) >> kilobytes) return kilobytes * 1024;
  }
  return otherwise;
}

int AffinityThreads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(CPU_COUNT(&set), 1);
  return std::max(static_cast<int>(std::thread::hardware_concurrency()), 1);
}

// Returns the process's cgroup directory below the version 2 hierarchy ("/system.slice/x.service"),
// from the line "0::PATH".
std::string CgroupPath(const std::string& root) {
  std::ifstream file(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    if (line.compare(0, 3, "0::") == 0) return line.substr(3);
  }
  return "/";
}

struct Limits {
  double cpus = std::numeric_limits<double>::infinity();
  int64_t memory = kUnlimited;
};

// The limits of all ancestors apply, so take the tightest one on the way up.
Limits CgroupLimits(const std::string& root) {
  Limits limits;
  std::string path = CgroupPath(root);
  while (true) {
    const std::string directory = root + "/sys/fs/cgroup" + (path == "/" ? "" : path);
    std::ifstream cpu(directory + "/cpu.max");
    double quota, period;
    if (cpu >> quota >> period && period > 0) limits.cpus = std::min(limits.cpus, quota / period);
    std::ifstream memory(directory + "/memory.max");
    int64_t bytes;
    if (memory >> bytes) limits.memory = std::min(limits.memory, bytes);
    if (path.empty() || path == "/") return limits;
    path = path.substr(0, path.rfind('/'));
  }
}

}  // namespace

Resources DetectResources(const std::string& root) {
  const Limits limits = CgroupLimits(root);
  Resources resources;
  resources.threads = AffinityThreads();
  if (limits.cpus < resources.threads) {
    resources.threads = std::max(static_cast<int>(limits.cpus + 0.999), 1);
  }
  resources.memory_bytes =
      std::min(limits.memory, ReadKilobytes(root + "/proc/meminfo", "MemTotal", kUnlimited));
  return resources;
}

int64_t ResidentBytes() { return ReadKilobytes("/proc/self/status", "VmRSS", 0); }
int64_t PeakResidentBytes() { return ReadKilobytes("/proc/self/status", "VmHWM", 0); }

}  // namespace whipsnake::engine
