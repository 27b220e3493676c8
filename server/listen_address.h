// The address that the daemon listens on: "127.0.0.1:8500", "[::1]:8500", "localhost:0",
// "0.0.0.0:8500", "unix:/run/whipsnake/grpc.sock".
#ifndef WHIPSNAKE_SERVER_LISTEN_ADDRESS_H_
#define WHIPSNAKE_SERVER_LISTEN_ADDRESS_H_

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace whipsnake::server {

class ListenAddress {
 public:
  // Returns INVALID_ARGUMENT, naming `flag`, unless `text` is HOST:PORT with a numeric address or
  // "localhost" (127.0.0.1), or unix:PATH with a path of at most 107 bytes. unix:///PATH, which
  // other programs write, is the same as unix:/PATH. Host names are not resolved, because the
  // result could change between check and use.
  static absl::StatusOr<ListenAddress> Parse(std::string_view text, std::string_view flag);

  // Whether only this machine can connect: a loopback address or a Unix socket.
  bool IsLoopback() const;
  // "127.0.0.1:8500", "[::1]:8500", "unix:/run/whipsnake/grpc.sock"
  std::string ToString() const;
  // Of a Unix socket, 0 and without effect.
  int port() const;
  void set_port(int port);

  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const;
  bool is_ipv6() const { return storage_.ss_family == AF_INET6; }
  bool is_unix() const { return storage_.ss_family == AF_UNIX; }
  // The path of a Unix socket.
  std::string path() const;

 private:
  sockaddr_storage storage_{};
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_LISTEN_ADDRESS_H_
