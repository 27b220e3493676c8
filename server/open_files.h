// The process's limit of open files, and what of it is for connections.
#ifndef WHIPSNAKE_SERVER_OPEN_FILES_H_
#define WHIPSNAKE_SERVER_OPEN_FILES_H_

#include <cstdint>

namespace whipsnake::server {

// Raises the soft limit to the hard one, or to 65,536 where that is higher: some libraries take
// time or memory by the limit. A limit that is higher already stays as it is.
void RaiseOpenFileLimit();
int64_t OpenFileLimit();  // the soft limit

struct ConnectionLimits {
  int64_t grpc = 0;
  int64_t http = 0;
};

// How many connections each port may have where the process may have `open_files`, some of which
// are left for models and states. At most `most_grpc`, at least a few of each.
ConnectionLimits DivideOpenFiles(int64_t open_files, int64_t most_grpc);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_OPEN_FILES_H_
