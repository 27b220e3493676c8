#include "server/metrics/process_metrics.h"

#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <sstream>
#include <string>
#include <utility>

#include "engine/base/resources.h"

namespace whipsnake::server {
namespace {

double CpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Returns a field of /proc/self/stat by its number in proc(5), which must be at least 3.
double StatField(int number) {
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  // The second field, the command in parentheses, may contain blanks.
  std::istringstream rest(text.substr(text.rfind(')') + 1));
  std::string field;
  for (int i = 3; i <= number; ++i) rest >> field;
  return field.empty() ? 0 : std::stod(field);
}

// In seconds since the epoch. The kernel counts from boot.
double StartTime() {
  timespec since_boot{}, now{};
  clock_gettime(CLOCK_BOOTTIME, &since_boot);
  clock_gettime(CLOCK_REALTIME, &now);
  const double boot = static_cast<double>(now.tv_sec - since_boot.tv_sec) +
                      1e-9 * static_cast<double>(now.tv_nsec - since_boot.tv_nsec);
  constexpr int kStartTicks = 22;
  return boot + StatField(kStartTicks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double OpenFiles() {
  std::error_code error;
  std::filesystem::directory_iterator files("/proc/self/fd", error);
  if (error) return 0;
  // Do not count the descriptor of the directory that is being read.
  return static_cast<double>(std::distance(files, std::filesystem::directory_iterator()) - 1);
}

// A limit of the process, or -1 if there is none.
double SoftLimit(int resource) {
  rlimit limit{};
  getrlimit(resource, &limit);
  return limit.rlim_cur == RLIM_INFINITY ? -1 : static_cast<double>(limit.rlim_cur);
}

}  // namespace

void AddProcessMetrics(MetricsRegistry& registry) {
  registry.BeginGroup("The process");
  constexpr int kThreads = 20, kVirtualBytes = 23;  // fields of StatField
  Show(registry.AddComputedCounter({.name = "process_cpu_seconds_total",
                                    .help = "User and system CPU time spent, in seconds.",
                                    .unit = "seconds"}),
       {}, CpuSeconds);
  const auto add = [&](MetricDescription description, std::function<double()> function) {
    Show(registry.AddComputedGauge(std::move(description)), {}, std::move(function));
  };
  add({.name = "process_virtual_memory_bytes", .help = "Virtual memory size.", .unit = "bytes"},
      [] { return StatField(kVirtualBytes); });
  add({.name = "process_virtual_memory_max_bytes",
       .help = "The most virtual memory that the process may have; -1: no limit.",
       .unit = "bytes"},
      [] { return SoftLimit(RLIMIT_AS); });
  add({.name = "process_resident_memory_bytes", .help = "Resident memory size.", .unit = "bytes"},
      [] { return engine::ResidentBytes(); });
  add({.name = "process_threads", .help = "Threads of the process.", .unit = "threads"},
      [] { return StatField(kThreads); });
  add({.name = "process_open_fds", .help = "Open file descriptors.", .unit = "files"}, OpenFiles);
  add({.name = "process_max_fds",
       .help = "Limit of open file descriptors.",
       .unit = "files",
       .example = "process_open_fds / process_max_fds > 0.8"},
      [] { return SoftLimit(RLIMIT_NOFILE); });
  add({.name = "process_start_time_seconds",
       .help = "When the process started, in seconds since the Unix epoch.",
       .unit = "seconds",
       .example = "time() - process_start_time_seconds"},
      [start = StartTime()] { return start; });
}

}  // namespace whipsnake::server
