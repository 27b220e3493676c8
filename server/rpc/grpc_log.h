// gRPC's own messages as lines of our log.
#ifndef WHIPSNAKE_SERVER_RPC_GRPC_LOG_H_
#define WHIPSNAKE_SERVER_RPC_GRPC_LOG_H_

namespace whipsnake::server {

// From now on what gRPC has to say goes to the log, limited in number: peers can cause it. Without
// this gRPC writes to stderr itself.
void SendGrpcLogToOurs();

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_GRPC_LOG_H_
