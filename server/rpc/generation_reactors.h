// The two forms of a generation as gRPC reactors: one answer, or a stream of events.
#ifndef WHIPSNAKE_SERVER_RPC_GENERATION_REACTORS_H_
#define WHIPSNAKE_SERVER_RPC_GENERATION_REACTORS_H_

#include <grpcpp/grpcpp.h>

#include "server/rpc/generation_call.h"

namespace whipsnake::server {

// `response` is filled before the call finishes. What is returned belongs to gRPC.
grpc::ServerUnaryReactor* StartUnaryGeneration(const GenerationEnvironment& environment,
                                               grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer& request,
                                               grpc::ByteBuffer* response);

// At most one write is in flight; what the engine makes meanwhile is one delta of the next.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartStreamingGeneration(
    const GenerationEnvironment& environment, grpc::CallbackServerContext* context,
    const grpc::ByteBuffer& request);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_GENERATION_REACTORS_H_
