// The address of a server as people type it.
#ifndef WHIPSNAKE_SERVER_CLI_SERVER_ADDRESS_H_
#define WHIPSNAKE_SERVER_CLI_SERVER_ADDRESS_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace whipsnake::server {

// Where to connect to.
struct ServerAddress {
  std::string target;     // of gRPC: "host:8500", "[::1]:8500", "unix:/run/whipsnake.sock"
  bool loopback = false;  // this machine: no proxy leads there
};

// Completes HOST, HOST:PORT, an IPv6 address with or without brackets, or a target of gRPC with a
// scheme ("unix:PATH", "dns:///HOST:PORT"). Without a port, it is 8500. INVALID_ARGUMENT
// for an empty host or a port that is not one.
absl::StatusOr<ServerAddress> ParseServerAddress(std::string_view text);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_SERVER_ADDRESS_H_
