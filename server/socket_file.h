// A listening Unix socket as a file.
#ifndef WHIPSNAKE_SERVER_SOCKET_FILE_H_
#define WHIPSNAKE_SERVER_SOCKET_FILE_H_

#include <sys/stat.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::server {

// The file of a socket, which is removed with this object unless another file has taken its place.
class SocketFile {
 public:
  // Binds the socket `listener` to `path`, with the permissions `mode`, and listens. The file that
  // a dead process has left there is replaced. Returns FAILED_PRECONDITION if a living process
  // listens there or the file is not a socket, otherwise UNAVAILABLE with the reason of the system.
  // Of two processes that do this at the same time, one succeeds.
  static absl::StatusOr<SocketFile> Listen(int listener, const std::string& path, mode_t mode);

  SocketFile() = default;  // no file
  ~SocketFile() { Remove(); }
  SocketFile(SocketFile&& other) noexcept;
  SocketFile& operator=(SocketFile&& other) noexcept;

  void Remove();

 private:
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_SOCKET_FILE_H_
