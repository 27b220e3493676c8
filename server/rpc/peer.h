// Who is at the other end of a connection.
#ifndef WHIPSNAKE_SERVER_RPC_PEER_H_
#define WHIPSNAKE_SERVER_RPC_PEER_H_

#include <string>

namespace grpc {
class ServerContextBase;
}

namespace whipsnake::server {

// Returns the host that the call comes from, such as "ipv4:10.0.0.7": all connections of a host are
// one client.
std::string PeerHost(const grpc::ServerContextBase& context);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_PEER_H_
