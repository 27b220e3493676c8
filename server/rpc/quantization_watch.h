// A stream of a quantization's states, as a gRPC reactor.
#ifndef WHIPSNAKE_SERVER_RPC_QUANTIZATION_WATCH_H_
#define WHIPSNAKE_SERVER_RPC_QUANTIZATION_WATCH_H_

#include <grpcpp/grpcpp.h>

#include "server/registry/quantization_jobs.h"

namespace whipsnake::server {

// At most one write is in flight; of what changes meanwhile the latest is written next, and the end
// always. What is returned belongs to gRPC.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartQuantizationWatch(
    QuantizationJobs& jobs, grpc::CallbackServerContext* context, const grpc::ByteBuffer& request);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_QUANTIZATION_WATCH_H_
