// The address that the daemon listens on: "127.0.0.1:8500", "[::1]:8500", "localhost:0",
// "0.0.0.0:8500".
#ifndef WHIPSNAKE_SERVER_LISTEN_ADDRESS_H_
#define WHIPSNAKE_SERVER_LISTEN_ADDRESS_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace whipsnake::server {

class ListenAddress {
 public:
  // Returns INVALID_ARGUMENT, naming `flag`, unless `text` is HOST:PORT with a numeric address or
  // "localhost" (127.0.0.1). Host names are not resolved, because the result could change between
  // check and use.
  static absl::StatusOr<ListenAddress> Parse(std::string_view text, std::string_view flag);

  bool IsLoopback() const;
  // "127.0.0.1:8500", "[::1]:8500"
  std::string ToString() const;
  int port() const;
  void set_port(int port);

  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return is_ipv6() ? sizeof(sockaddr_in6) : sizeof(sockaddr_in); }
  bool is_ipv6() const { return storage_.ss_family == AF_INET6; }

 private:
  sockaddr_storage storage_{};
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_LISTEN_ADDRESS_H_
