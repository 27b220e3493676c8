#include "server/metrics/process_metrics.h"

#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

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

double MaxFiles() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

}  // namespace

void AddProcessMetrics(MetricsRegistry& registry) {
  using prometheus::MetricType;
  const auto add = [&](std::string name, std::string help, MetricType type,
                       std::function<double()> function) {
    registry.AddComputed(std::move(name), std::move(help), {}, type)
        .Put({}, std::make_unique<Computed>(std::move(function)));
  };
  add("process_cpu_seconds_total", "User and system CPU time spent, in seconds.",
      MetricType::Counter, CpuSeconds);
  constexpr int kVirtualBytes = 23;
  add("process_virtual_memory_bytes", "Virtual memory size.", MetricType::Gauge,
      [] { return StatField(kVirtualBytes); });
  add("process_resident_memory_bytes", "Resident memory size.", MetricType::Gauge,
      [] { return static_cast<double>(engine::ResidentBytes()); });
  add("process_open_fds", "Open file descriptors.", MetricType::Gauge, OpenFiles);
  add("process_max_fds", "Limit of open file descriptors.", MetricType::Gauge, MaxFiles);
  add("process_start_time_seconds", "When the process started, in seconds since the Unix epoch.",
      MetricType::Gauge, [start = StartTime()] { return start; });
}

}  // namespace whipsnake::server
