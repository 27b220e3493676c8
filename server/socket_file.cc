#include "server/socket_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "server/listen_address.h"

namespace whipsnake::server {
namespace {

absl::Status CannotBind(const std::string& path, int error) {
  return absl::UnavailableError(
      absl::StrCat("cannot listen on unix:", path, ": ", std::strerror(error)));
}

absl::Status InUse(const std::string& path, std::string_view by) {
  return absl::FailedPreconditionError(
      absl::StrCat("cannot listen on unix:", path, ": ", engine::ToAbsl(by)));
}

// Waits for the lock, for a bounded time: a server holds it for a moment.
bool Lock(int directory) {
  constexpr int kAttempts = 500, kPauseMilliseconds = 10;
  for (int i = 0; i < kAttempts; ++i) {
    if (flock(directory, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK) return false;
    poll(nullptr, 0, kPauseMilliseconds);
  }
  errno = EWOULDBLOCK;
  return false;
}

// Removes the socket of a dead process: one that refuses connections.
absl::Status RemoveStale(const ListenAddress& address) {
  const std::string path = address.path();
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) {
    return errno == ENOENT ? absl::OkStatus() : CannotBind(path, errno);
  }
  if (!S_ISSOCK(status.st_mode)) return InUse(path, "a file that is not a socket is there");
  const engine::Descriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (probe.get() < 0) return CannotBind(path, errno);
  if (connect(probe.get(), address.address(), address.size()) == 0 || errno == EAGAIN) {
    return InUse(path, "another server listens there");
  }
  if (errno != ECONNREFUSED) return CannotBind(path, errno);
  return unlink(path.c_str()) == 0 || errno == ENOENT ? absl::OkStatus() : CannotBind(path, errno);
}

}  // namespace

absl::StatusOr<SocketFile> SocketFile::Listen(int listener, const std::string& path, mode_t mode) {
  ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse("unix:" + path, "path"));
  // The lock keeps another server from taking the socket for a dead one between bind and listen. It
  // is on the directory, so that it leaves no file.
  const engine::Descriptor directory(
      open(engine::ParentOf(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || !Lock(directory.get())) return CannotBind(path, errno);
  RETURN_IF_ERROR(RemoveStale(address));
  // The file gets the mode of the descriptor, without the bits of the umask, which chmod then adds.
  // So it never allows more than `mode`.
  SocketFile file;
  struct stat status;
  if (fchmod(listener, mode) != 0 || bind(listener, address.address(), address.size()) != 0) {
    return CannotBind(path, errno);
  }
  if (lstat(path.c_str(), &status) != 0) return CannotBind(path, errno);
  file.path_ = path;
  file.device_ = status.st_dev;
  file.inode_ = status.st_ino;
  if (chmod(path.c_str(), mode) != 0 || listen(listener, SOMAXCONN) != 0) {
    return CannotBind(path, errno);
  }
  return file;
}

SocketFile::SocketFile(SocketFile&& other) noexcept { *this = std::move(other); }

SocketFile& SocketFile::operator=(SocketFile&& other) noexcept {
  if (this == &other) return *this;
  Remove();
  path_ = std::exchange(other.path_, "");
  device_ = other.device_;
  inode_ = other.inode_;
  return *this;
}

void SocketFile::Remove() {
  const std::string path = std::exchange(path_, "");
  struct stat status;
  if (path.empty() || lstat(path.c_str(), &status) != 0) return;
  if (status.st_dev == device_ && status.st_ino == inode_) unlink(path.c_str());
}

}  // namespace whipsnake::server
