// Who is at the other end of a connection.
#ifndef WHIPSNAKE_SERVER_RPC_PEER_H_
#define WHIPSNAKE_SERVER_RPC_PEER_H_

#include <string>

namespace grpc {
class ServerContextBase;
}

namespace whipsnake::server {

// Returns the host of a peer as gRPC names it: "ipv4:10.0.0.7" for "ipv4:10.0.0.7:51234", "unix"
// for all clients on Unix sockets.
std::string HostOfPeer(const std::string& peer);

// Returns the host that the call comes from: all connections of a host are one client.
std::string PeerHost(const grpc::ServerContextBase& context);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_PEER_H_
