// WatchFineTuningJob: the events of a job as a stream.
#ifndef WHIPSNAKE_SERVER_RPC_JOB_WATCH_H_
#define WHIPSNAKE_SERVER_RPC_JOB_WATCH_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>

#include "server/jobs/job_queue.h"
#include "server/work/disk_queue.h"

namespace whipsnake::server {

// Streams all events after the one that the request names, each once and in order. At most one
// message is in flight; the client's cursor is all that is kept, so a slow client costs nothing.
// Events that are no longer in memory are read on the disk queue's thread. The queues must outlive
// the call. `end_timeout`: how long a client may take to read a message once the job has ended.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartJobWatch(JobQueue& jobs, DiskQueue& disk,
                                                          std::chrono::milliseconds end_timeout,
                                                          grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer& request);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_JOB_WATCH_H_
