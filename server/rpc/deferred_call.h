// Unary calls whose answers take time, so that threads other than gRPC's give them.
#ifndef WHIPSNAKE_SERVER_RPC_DEFERRED_CALL_H_
#define WHIPSNAKE_SERVER_RPC_DEFERRED_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <list>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/rpc/active_calls.h"
#include "server/rpc/messages.h"
#include "server/rpc/peer.h"
#include "server/work/background.h"
#include "server/work/disk_queue.h"

namespace whipsnake::server {

// Answers on the queue's thread: absl::Status handle(const Request&, Response*). RESOURCE_EXHAUSTED
// if too many calls wait for it.
template <typename Request, typename Response, typename Handle>
grpc::ServerUnaryReactor* AnswerFromDisk(DiskQueue& disk, grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request_bytes,
                                         grpc::ByteBuffer* response_bytes, Handle handle) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto end = UnaryEnd(reactor);
  const absl::Status status = engine::CatchExceptions([&]() -> absl::Status {
    auto request = std::make_shared<Request>();
    RETURN_IF_ERROR(ReceiveRequest(context, *request_bytes, request.get()));
    const std::string client = PeerHost(*context);
    RETURN_IF_ERROR(disk.CheckRoom(client));
    std::list<DiskQueue::Task> task;
    task.push_back({.client = client, .run = [=](bool refuse) {
                      end(engine::CatchExceptions([&]() -> absl::Status {
                        if (refuse) return DrainingError();
                        return Respond<Response>(*request, handle, response_bytes);
                      }));
                    }});
    disk.Push(task);
    return absl::OkStatus();
  });
  if (!status.ok()) end(status);
  return reactor;
}

// Answers on a thread of its own: absl::Status handle(const Request&, Response*). UNAVAILABLE while
// the server drains; RESOURCE_EXHAUSTED if too many tasks run.
template <typename Request, typename Response, typename Handle>
grpc::ServerUnaryReactor* AnswerInBackground(Background& background, const ActiveCalls& calls,
                                             grpc::CallbackServerContext* context,
                                             const grpc::ByteBuffer* request_bytes,
                                             grpc::ByteBuffer* response_bytes, Handle handle) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto end = UnaryEnd(reactor);
  const absl::Status status = engine::CatchExceptions([&]() -> absl::Status {
    Request request;
    RETURN_IF_ERROR(ReceiveRequest(context, *request_bytes, &request));
    if (calls.closed()) return DrainingError();
    const auto work = [handle, response_bytes, request = std::move(request)] {
      return Respond<Response>(request, handle, response_bytes);
    };
    return background.Run(work, end);
  });
  if (!status.ok()) end(status);
  return reactor;
}

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_DEFERRED_CALL_H_
