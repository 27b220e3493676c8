// A listening socket and a bounded number of accepted connections.
//
// gRPC and libmicrohttpd are given connections instead of ports. With a port of its own, gRPC stops
// listening for good when file descriptors run out, libmicrohttpd spins, and neither bounds its
// connections in a way that suits a server.
#ifndef WHIPSNAKE_SERVER_ACCEPTOR_H_
#define WHIPSNAKE_SERVER_ACCEPTOR_H_

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "server/listen_address.h"
#include "server/socket_file.h"

namespace whipsnake::server {

// Tracks sockets that another object owns and closes. A descriptor's number may later stand for
// another file, so a socket is identified by its inode too. Thread-safe.
class OpenSockets {
 public:
  void Add(int descriptor);
  // Returns how many are in use: open and not shut down.
  int64_t Count();
  // Returns whether fewer than `limit` are in use. Checks no sockets if fewer than `limit` are
  // tracked.
  bool CountBelow(int64_t limit);
  // Shuts down the socket that was added first. Its owner sees the connection end.
  void ShutDownOldest();
  // Returns how many have been shut down and are still open, because their owner is behind.
  int64_t CountShutDown();

 private:
  struct Socket {
    dev_t device;
    ino_t inode;
    int64_t number;  // in the order of Add
    bool shut_down = false;
  };
  static bool IsOpen(int descriptor, const Socket& socket);
  // Removes closed sockets and counts the others.
  int64_t CountLocked(bool shut_down) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  engine::Mutex mutex_;
  int64_t added_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int, Socket> by_number_ ABSL_GUARDED_BY(mutex_);  // by descriptor
};

class Acceptor {
 public:
  // What to do with a new connection when the limit is reached.
  enum class AtLimit {
    kRefuse,       // close the new connection: the open ones are in use
    kCloseOldest,  // close the oldest connection: connections are short-lived
  };
  struct Options {
    std::string name;  // in the log: "grpc"
    int64_t max_connections = 0;
    AtLimit at_limit = AtLimit::kRefuse;
    // How long a peer may leave sent data unacknowledged before it is considered dead.
    std::chrono::milliseconds dead_after{10'000};
    mode_t socket_mode = 0660;  // of the file of a Unix socket
  };
  // Takes ownership of the descriptor, which is non-blocking. Called on the acceptor's thread;
  // exceptions are logged.
  using Handler = std::function<void(int descriptor, const sockaddr* peer, socklen_t peer_size)>;

  // Starts to listen; nothing is accepted before Start. Port 0 takes a free port. Returns
  // UNAVAILABLE, naming the address, if it cannot listen there; for a Unix socket also
  // FAILED_PRECONDITION (SocketFile::Listen).
  static absl::StatusOr<std::unique_ptr<Acceptor>> Listen(const ListenAddress& address,
                                                          Options options);
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // Starts to accept. Called at most once.
  void Start(Handler handler);
  // Closes the port, removes the file of a Unix socket, and returns once the handler is no longer
  // called.
  void Stop();

  // The address with the port that was taken.
  const ListenAddress& address() const { return address_; }
  // Returns whether the socket still listens; if not, the log has the reason. Thread-safe.
  bool is_listening() const { return listening_; }
  // The number of open connections. Thread-safe.
  int64_t connections() const { return sockets_.Count(); }
  // The number of connections so far that were refused, or closed to make room. Thread-safe.
  int64_t turned_away() const { return turned_away_; }

 private:
  Acceptor(int listener, const ListenAddress& address, SocketFile file, Options options);

  void Run();
  // Accepts up to a bounded number of pending connections. Returns for how many milliseconds not to
  // try again; -1 means forever.
  int AcceptSome();
  bool AdmitConnection();
  // Returns whether as many connections as the limit were closed to make room, and their owner has
  // not noticed yet. It may refuse more of them than it has room for, so they wait.
  bool OwnerIsBehind();

  const Options options_;
  ListenAddress address_;
  SocketFile file_;  // of a Unix socket
  Handler handler_;
  int listener_;
  int stop_;  // eventfd
  std::atomic<bool> listening_{true};
  std::atomic<int64_t> turned_away_{0};
  mutable OpenSockets sockets_;
  std::thread thread_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ACCEPTOR_H_
