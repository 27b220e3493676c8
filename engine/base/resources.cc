#include "engine/base/resources.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

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

// A line "NUMBER:CONTROLLERS:PATH" of /proc/self/cgroup.
struct Cgroup {
  std::string controllers;  // with commas between them; "" for version 2, which has all in one tree
  std::string path;         // "/system.slice/x.service"
};

std::vector<Cgroup> ReadCgroups(const std::string& root) {
  std::ifstream file(root + "/proc/self/cgroup");
  std::vector<Cgroup> cgroups;
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == line.npos) continue;
    cgroups.push_back({line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
  if (cgroups.empty()) cgroups.push_back({"", "/"});
  return cgroups;
}

struct Limits {
  double cpus = std::numeric_limits<double>::infinity();
  int64_t memory = kUnlimited;
};

// Takes the limits of a directory of version 2 or 1. What a limit's file has instead of a number,
// if there is none, is ignored: "max", -1 and, in bytes, a number near 2^63.
void TightenV2(const std::string& directory, Limits& limits) {
  std::ifstream cpu(directory + "/cpu.max"), memory(directory + "/memory.max");
  double quota, period;
  int64_t bytes;
  if (cpu >> quota >> period && period > 0) limits.cpus = std::min(limits.cpus, quota / period);
  if (memory >> bytes) limits.memory = std::min(limits.memory, bytes);
}
void TightenCpuV1(const std::string& directory, Limits& limits) {
  std::ifstream quota_file(directory + "/cpu.cfs_quota_us");
  std::ifstream period_file(directory + "/cpu.cfs_period_us");
  double quota, period;
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0) {
    limits.cpus = std::min(limits.cpus, quota / period);
  }
}
void TightenMemoryV1(const std::string& directory, Limits& limits) {
  std::ifstream file(directory + "/memory.limit_in_bytes");
  int64_t bytes;
  if (file >> bytes) limits.memory = std::min(limits.memory, bytes);
}

// The limits of all ancestors apply, so take the tightest one on the way up. The path may be that
// of the host, of which a container sees its own part as the top.
void TightenUpwards(const std::string& mount, std::string path,
                    void (*tighten)(const std::string& directory, Limits& limits), Limits& limits) {
  while (true) {
    tighten(mount + (path == "/" ? "" : path), limits);
    if (path.empty() || path == "/") return;
    path = path.substr(0, path.rfind('/'));
  }
}

bool HasController(const Cgroup& cgroup, const std::string& name) {
  return ("," + cgroup.controllers + ",").find("," + name + ",") != std::string::npos;
}

Limits CgroupLimits(const std::string& root) {
  const std::string mounts = root + "/sys/fs/cgroup";
  Limits limits;
  for (const Cgroup& cgroup : ReadCgroups(root)) {
    if (cgroup.controllers.empty()) TightenUpwards(mounts, cgroup.path, TightenV2, limits);
    // A tree of version 1 is mounted under the list of its controllers, with links by one of them.
    if (HasController(cgroup, "cpu")) {
      TightenUpwards(mounts + "/cpu", cgroup.path, TightenCpuV1, limits);
      TightenUpwards(mounts + "/" + cgroup.controllers, cgroup.path, TightenCpuV1, limits);
    }
    if (HasController(cgroup, "memory")) {
      TightenUpwards(mounts + "/memory", cgroup.path, TightenMemoryV1, limits);
    }
  }
  return limits;
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
