// The process's limit of open files, and the share of it for connections.
#ifndef WHIPSNAKE_SERVER_OPEN_FILES_H_
#define WHIPSNAKE_SERVER_OPEN_FILES_H_

#include <cstdint>

namespace whipsnake::server {

// Raises the soft limit to the hard limit, but at most to 65,536, because some libraries take time
// or memory in proportion to the limit. Never lowers the limit.
void RaiseOpenFileLimit();
int64_t OpenFileLimit();  // the soft limit

struct ConnectionLimits {
  int64_t grpc = 0;
  int64_t http = 0;
};

// Returns how many connections each port may have if the process may have `open_files` open files,
// some of which are reserved for models and states. At most `most_grpc` for gRPC, and at least a
// few for each port.
ConnectionLimits DivideOpenFiles(int64_t open_files, int64_t most_grpc);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_OPEN_FILES_H_
