// A gRPC reactor that streams a quantization's states.
#ifndef WHIPSNAKE_SERVER_RPC_QUANTIZATION_WATCH_H_
#define WHIPSNAKE_SERVER_RPC_QUANTIZATION_WATCH_H_

#include <grpcpp/grpcpp.h>

#include "server/registry/quantization_jobs.h"

namespace whipsnake::server {

// At most one write is in flight. If the state changes in the meantime, the latest one is written
// next; the final state is always written. The returned reactor belongs to gRPC.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartQuantizationWatch(
    QuantizationJobs& jobs, grpc::CallbackServerContext* context, const grpc::ByteBuffer& request);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_QUANTIZATION_WATCH_H_
