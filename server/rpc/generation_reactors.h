// The gRPC reactors of a generation: one response, a stream of events, or a saved state.
#ifndef WHIPSNAKE_SERVER_RPC_GENERATION_REACTORS_H_
#define WHIPSNAKE_SERVER_RPC_GENERATION_REACTORS_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/rpc/generation_call.h"
#include "whipsnake/v1/state.pb.h"

namespace whipsnake::server {

// `response` is filled before the call finishes. The returned reactor belongs to gRPC.
grpc::ServerUnaryReactor* StartUnaryGeneration(const GenerationEnvironment& environment,
                                               grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer& request,
                                               grpc::ByteBuffer* response);

// At most one write is in flight. Output that the engine makes in the meantime is merged into the
// next delta.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartStreamingGeneration(
    const GenerationEnvironment& environment, grpc::CallbackServerContext* context,
    const grpc::ByteBuffer& request);

// Reads a prompt and saves the state. `response` is as above.
grpc::ServerUnaryReactor* StartSavingState(const GenerationEnvironment& environment,
                                           grpc::CallbackServerContext* context,
                                           const grpc::ByteBuffer& request,
                                           grpc::ByteBuffer* response);

v1::State ToProto(const StateInfo& info);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_GENERATION_REACTORS_H_
