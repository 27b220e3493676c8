#include "server/acceptor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "server/guarded.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

// How long to wait when descriptors or memory run out.
constexpr int kPauseMilliseconds = 100;
constexpr int kBehindMilliseconds = 1;  // for an owner that is about to close connections
constexpr int kConnectionsPerRound = 64;

absl::Status CannotListen(const ListenAddress& address) {
  return absl::UnavailableError(
      absl::StrCat("cannot listen on ", address.ToString(), ": ", std::strerror(errno)));
}

// The accepted sockets inherit the options.
bool ListenOnPort(int listener, std::chrono::milliseconds dead_after, ListenAddress* address) {
  const int on = 1;
  const auto timeout = static_cast<unsigned>(dead_after.count());
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
      setsockopt(listener, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout)) != 0 ||
      bind(listener, address->address(), address->size()) != 0 ||
      listen(listener, SOMAXCONN) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    return false;
  }
  // The port has the same offset in both address families.
  address->set_port(ntohs(reinterpret_cast<const sockaddr_in*>(&bound)->sin_port));
  return true;
}

// Whether accept failed because of a temporary shortage in the system.
bool IsShortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

// Whether accept failed because the listening socket itself is broken. All other errors concern one
// connection.
bool IsBroken(int error) {
  return error == EBADF || error == EINVAL || error == ENOTSOCK || error == EFAULT;
}

}  // namespace

void OpenSockets::Add(int descriptor) {
  struct stat status;
  if (fstat(descriptor, &status) != 0) return;
  engine::MutexLock lock(mutex_);
  // Replaces an older socket with this number, which must have been closed.
  by_number_[descriptor] = {.device = status.st_dev, .inode = status.st_ino, .number = added_++};
}

bool OpenSockets::IsOpen(int descriptor, const Socket& socket) {
  struct stat status;
  return fstat(descriptor, &status) == 0 && status.st_dev == socket.device &&
         status.st_ino == socket.inode;
}

int64_t OpenSockets::Count() {
  engine::MutexLock lock(mutex_);
  return CountLocked(/*shut_down=*/false);
}

int64_t OpenSockets::CountShutDown() {
  engine::MutexLock lock(mutex_);
  return CountLocked(/*shut_down=*/true);
}

bool OpenSockets::CountBelow(int64_t limit) {
  engine::MutexLock lock(mutex_);
  return std::ssize(by_number_) < limit || CountLocked(/*shut_down=*/false) < limit;
}

int64_t OpenSockets::CountLocked(bool shut_down) {
  std::erase_if(by_number_, [](const auto& entry) { return !IsOpen(entry.first, entry.second); });
  return std::ranges::count_if(
      by_number_, [&](const auto& entry) { return entry.second.shut_down == shut_down; });
}

void OpenSockets::ShutDownOldest() {
  engine::MutexLock lock(mutex_);
  const auto key = [](const auto& entry) {
    return std::pair(entry.second.shut_down, entry.second.number);
  };
  const auto oldest = std::ranges::min_element(by_number_, {}, key);
  if (oldest == by_number_.end()) return;
  // Duplicate the descriptor: the owner may close its own at any time, and the number may then
  // stand for another file.
  if (const int copy = dup(oldest->first); copy >= 0) {
    if (IsOpen(copy, oldest->second)) shutdown(copy, SHUT_RDWR);
    close(copy);
  }
  oldest->second.shut_down = true;
}

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Listen(const ListenAddress& address,
                                                           Options options) {
  const int family = address.address()->sa_family;
  const int listener = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener < 0) return CannotListen(address);
  engine::Descriptor owner(listener);
  ListenAddress bound = address;
  SocketFile file;
  if (address.is_unix()) {
    ASSIGN_OR_RETURN(file, SocketFile::Listen(listener, address.path(), options.socket_mode));
  } else if (!ListenOnPort(listener, options.dead_after, &bound)) {
    return CannotListen(address);
  }
  return std::unique_ptr<Acceptor>(
      new Acceptor(owner.Release(), bound, std::move(file), std::move(options)));
}

Acceptor::Acceptor(int listener, const ListenAddress& address, SocketFile file, Options options)
    : options_(std::move(options)),
      address_(address),
      file_(std::move(file)),
      listener_(listener),
      stop_(eventfd(0, EFD_CLOEXEC)) {}

Acceptor::~Acceptor() {
  Stop();
  close(stop_);
}

void Acceptor::Start(Handler handler) {
  handler_ = std::move(handler);
  thread_ = std::thread(&Acceptor::Run, this);
}

void Acceptor::Stop() {
  if (thread_.joinable()) {
    eventfd_write(stop_, 1);
    thread_.join();
  }
  file_.Remove();
  if (listener_ >= 0) close(std::exchange(listener_, -1));
}

void Acceptor::Run() {
  int pause = 0;
  while (pause >= 0) {
    // During a pause, poll only the stop event.
    pollfd descriptors[] = {{stop_, POLLIN, 0}, {listener_, POLLIN, 0}};
    if (poll(descriptors, pause > 0 ? 1 : 2, pause > 0 ? pause : -1) < 0 && errno != EINTR) {
      pause = kPauseMilliseconds;
      continue;
    }
    if (descriptors[0].revents != 0) return;
    pause = AcceptSome();
  }
  listening_ = false;
}

// A round is bounded, so that Stop() is noticed however many connections arrive.
int Acceptor::AcceptSome() {
  for (int i = 0; i < kConnectionsPerRound; ++i) {
    if (OwnerIsBehind()) return kBehindMilliseconds;
    sockaddr_storage peer{};
    socklen_t size = sizeof(peer);
    auto* address = reinterpret_cast<sockaddr*>(&peer);
    engine::Descriptor accepted(accept4(listener_, address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (accepted.get() >= 0) {
      // An exception ends only this connection.
      RunGuarded(options_.name, [&] {
        if (!AdmitConnection()) return;
        sockets_.Add(accepted.get());
        handler_(accepted.Release(), address, size);
      });
      continue;
    }
    const int error = errno;
    if (error == EAGAIN || error == EWOULDBLOCK) return 0;
    if (IsShortage(error)) {
      LogLimited(LogLevel::kWarning, "cannot accept connections; they wait",
                 {{"port", options_.name}, {"reason", std::strerror(error)}});
      return kPauseMilliseconds;
    }
    if (IsBroken(error)) {
      Log(LogLevel::kError, "the port stopped listening",
          {{"port", options_.name}, {"reason", std::strerror(error)}});
      return -1;
    }
  }
  return 0;
}

bool Acceptor::OwnerIsBehind() {
  return options_.at_limit == AtLimit::kCloseOldest &&
         sockets_.CountShutDown() >= options_.max_connections;
}

// Returns whether one more connection is allowed.
bool Acceptor::AdmitConnection() {
  if (sockets_.CountBelow(options_.max_connections)) return true;
  ++turned_away_;
  LogLimited(LogLevel::kWarning, "too many connections",
             {{"port", options_.name}, {"limit", options_.max_connections}});
  if (options_.at_limit == AtLimit::kRefuse) return false;
  sockets_.ShutDownOldest();
  return true;
}

}  // namespace whipsnake::server
