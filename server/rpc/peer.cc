#include "server/rpc/peer.h"

#include <grpcpp/server_context.h>

namespace whipsnake::server {

std::string PeerHost(const grpc::ServerContextBase& context) {
  const std::string peer = context.peer();  // with the port, as in "ipv4:10.0.0.7:51234"
  return peer.substr(0, peer.rfind(':'));
}

}  // namespace whipsnake::server
