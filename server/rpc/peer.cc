#include "server/rpc/peer.h"

#include <grpcpp/server_context.h>

namespace whipsnake::server {

std::string HostOfPeer(const std::string& peer) {
  // The path is the client's choice, if it gives its own socket one at all.
  if (peer.starts_with("unix")) return "unix";
  return peer.substr(0, peer.rfind(':'));
}

std::string PeerHost(const grpc::ServerContextBase& context) { return HostOfPeer(context.peer()); }

}  // namespace whipsnake::server
