// Writes gRPC's own messages to our log.
#ifndef WHIPSNAKE_SERVER_RPC_GRPC_LOG_H_
#define WHIPSNAKE_SERVER_RPC_GRPC_LOG_H_

namespace whipsnake::server {

// Redirects gRPC's messages to the log, rate-limited, because peers can cause them. Otherwise gRPC
// writes to stderr itself.
void SendGrpcLogToOurs();

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_GRPC_LOG_H_
