#include "server/open_files.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>

namespace whipsnake::server {
namespace {

constexpr rlim_t kMaxOpenFiles = 65'536;
// Reserved for everything except connections: models, states, the libraries' own sockets.
constexpr int64_t kReserved = 96;
constexpr int64_t kMaxHttp = 128;
constexpr int64_t kMinHttp = 4;  // per port, however low the limit is

}  // namespace

void RaiseOpenFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min(limit.rlim_max, kMaxOpenFiles));
  setrlimit(RLIMIT_NOFILE, &limit);  // needs no privilege up to the hard limit
}

int64_t OpenFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMaxOpenFiles;
  // RLIM_INFINITY is the largest rlim_t.
  return static_cast<int64_t>(
      std::min<rlim_t>(limit.rlim_cur, std::numeric_limits<int64_t>::max()));
}

ConnectionLimits DivideOpenFiles(int64_t open_files, int64_t most_grpc) {
  const int64_t available = open_files - kReserved;
  return {std::clamp(available / 8 * 7, kMinHttp, std::max(most_grpc, kMinHttp)),
          std::clamp(available / 8, kMinHttp, kMaxHttp)};
}

}  // namespace whipsnake::server
