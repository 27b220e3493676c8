// A listening socket and the connections that it has accepted: a bounded number, whatever clients
// do.
//
// gRPC and libmicrohttpd are handed connections instead of ports. Left to themselves gRPC stops
// listening for good where file descriptors run out, libmicrohttpd spins, and neither bounds its
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

namespace whipsnake::server {

// Sockets that somebody else owns and closes. A descriptor's number may stand for another file
// later, so a socket is known by its inode too. Thread-safe.
class OpenSockets {
 public:
  void Add(int descriptor);
  // How many are still open; forgets the others.
  int64_t Count();
  // Whether there are fewer than `limit`. Looks at none of them where that is plain.
  bool FewerThan(int64_t limit);
  // Shuts down the one that was added first and forgets it; its owner sees it end.
  void ShutDownOldest();

 private:
  struct Socket {
    dev_t device;
    ino_t inode;
    int64_t number;  // counts what was added
  };
  static bool IsOpen(int descriptor, const Socket& socket);
  int64_t CountLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  engine::Mutex mutex_;
  int64_t added_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int, Socket> by_number_ ABSL_GUARDED_BY(mutex_);  // by descriptor
};

class Acceptor {
 public:
  // What happens to a connection when there are as many as there may be.
  enum class AtLimit {
    kRefuse,       // it is closed: those that are there are in use
    kCloseOldest,  // it takes the place of the oldest: none lasts long by right
  };
  struct Options {
    std::string name;  // in the log: "grpc"
    int64_t max_connections = 0;
    AtLimit at_limit = AtLimit::kRefuse;
    // For how long a peer may leave what was sent to it unacknowledged: then it is taken for dead.
    std::chrono::milliseconds dead_after{10'000};
  };
  // Owns the descriptor, which does not block, from then on. Called by the acceptor's thread; what
  // it throws is logged.
  using Handler = std::function<void(int descriptor, const sockaddr* peer, socklen_t peer_size)>;

  // Listens; nothing is accepted before Start. Port 0 takes a free one. UNAVAILABLE, naming the
  // address, where it cannot be listened on.
  static absl::StatusOr<std::unique_ptr<Acceptor>> Listen(const ListenAddress& address,
                                                          Options options);
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // Once.
  void Start(Handler handler);
  // Closes the port, and returns when the handler is not called any more.
  void Stop();

  // With the port that was taken.
  const ListenAddress& address() const { return address_; }
  // From any thread: whether the socket still listens. Where it does not, the log says why.
  bool is_listening() const { return listening_; }
  // From any thread.
  int64_t connections() const { return sockets_.Count(); }
  // Those that were refused, or closed to make room, so far. From any thread.
  int64_t turned_away() const { return turned_away_; }

 private:
  Acceptor(int listener, const ListenAddress& address, Options options);

  void Run();
  // Accepts some of what is there. Returns for how many milliseconds not to try again; -1 for ever.
  int AcceptSome();
  bool MakeRoom();

  const Options options_;
  ListenAddress address_;
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
