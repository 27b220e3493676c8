// Conversion between bytes and messages, and the unary call that most methods use. A method gets
// its request from ReceiveRequest, which refuses the caller who may not call it, so no method can
// forget to ask.
//
// The services receive raw bytes (gRPC's "raw callback" methods) and parse them here. If gRPC
// parsed them, a request that does not parse, such as one with text that is not UTF-8, would be
// answered with UNIMPLEMENTED and no message. Parsed here, it is answered with INVALID_ARGUMENT,
// which names the field.
#ifndef WHIPSNAKE_SERVER_RPC_MESSAGES_H_
#define WHIPSNAKE_SERVER_RPC_MESSAGES_H_

#include <google/protobuf/message.h>
#include <google/protobuf/timestamp.pb.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/rpc/make_end.h"

namespace whipsnake::server {

// Checks the call's admission (CheckAdmission), parses its request, and takes what the log says of
// it (CallRecord).
absl::Status ReceiveRequest(const grpc::CallbackServerContext* context,
                            const grpc::ByteBuffer& bytes, google::protobuf::Message* request);

// Returns INVALID_ARGUMENT, with the field if it can be determined.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message);

google::protobuf::Timestamp ToTimestamp(std::chrono::system_clock::time_point time);

// Converts gRPC's wall-clock deadline to the monotonic clock. Returns the largest time for no
// deadline and for one more than a year away.
std::chrono::steady_clock::time_point MonotonicDeadline(
    std::chrono::system_clock::time_point deadline);

// A stream that is refused before it begins.
template <typename Reactor>
class RefusedStream final : public Reactor {
 public:
  explicit RefusedStream(const absl::Status& status) {
    this->Finish(MakeEnd([&] { return ToGrpc(status); }));
  }
  void OnDone() override { delete this; }
};

// Returns a function that ends a unary call: void(const absl::Status&).
inline auto UnaryEnd(grpc::ServerUnaryReactor* reactor) {
  return [reactor](const absl::Status& status) {
    reactor->Finish(MakeEnd([&] { return ToGrpc(status); }));
  };
}

// Answers a request: absl::Status handle(const Request&, Response*).
template <typename Response, typename Request, typename Handle>
absl::Status Respond(const Request& request, const Handle& handle,
                     grpc::ByteBuffer* response_bytes) {
  Response response;
  RETURN_IF_ERROR(handle(request, &response));
  *response_bytes = SerializeMessage(response);
  return absl::OkStatus();
}

// A unary call that `handle` answers immediately: absl::Status handle(const Request&, Response*).
template <typename Request, typename Response, typename Handle>
grpc::ServerUnaryReactor* AnswerUnary(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request_bytes,
                                      grpc::ByteBuffer* response_bytes, const Handle& handle) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  UnaryEnd(reactor)(engine::CatchExceptions([&]() -> absl::Status {
    Request request;
    RETURN_IF_ERROR(ReceiveRequest(context, *request_bytes, &request));
    return Respond<Response>(request, handle, response_bytes);
  }));
  return reactor;
}

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_MESSAGES_H_
