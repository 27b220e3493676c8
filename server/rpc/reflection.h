// Whether a server offers gRPC server reflection.
#ifndef WHIPSNAKE_SERVER_RPC_REFLECTION_H_
#define WHIPSNAKE_SERVER_RPC_REFLECTION_H_

#include <grpcpp/impl/server_builder_option.h>

#include <memory>

namespace whipsnake::server {

// For ServerBuilder::SetOption. The library's reflection adds itself to every server of a program
// that it is linked to, so a server that is not to offer it must say so.
std::unique_ptr<grpc::ServerBuilderOption> MakeReflection(bool offered);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_REFLECTION_H_
