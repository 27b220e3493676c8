// A gRPC reactor that streams a quantization's states.
#ifndef WHIPSNAKE_SERVER_RPC_QUANTIZATION_WATCH_H_
#define WHIPSNAKE_SERVER_RPC_QUANTIZATION_WATCH_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>

#include "server/jobs/job_queue.h"

namespace whipsnake::server {

// At most one write is in flight. If the state changes in the meantime, the latest one is written
// next; the final state is always written. Once the job has ended, the client has `end_timeout` to
// read each message that is left; after that the call is cancelled. The returned reactor belongs to
// gRPC.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartQuantizationWatch(
    JobQueue& jobs, std::chrono::milliseconds end_timeout, grpc::CallbackServerContext* context,
    const grpc::ByteBuffer& request);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_QUANTIZATION_WATCH_H_
