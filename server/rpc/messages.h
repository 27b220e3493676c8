// Between bytes on the wire and messages, and the unary call that most methods are.
//
// The services take raw bytes (gRPC's "raw callback" methods) and parse them here. Left to gRPC, a
// request that does not parse, such as one whose text is not UTF-8, is answered with UNIMPLEMENTED
// and no message; parsed here it is INVALID_ARGUMENT and names the field.
#ifndef WHIPSNAKE_SERVER_RPC_MESSAGES_H_
#define WHIPSNAKE_SERVER_RPC_MESSAGES_H_

#include <google/protobuf/message.h>
#include <google/protobuf/timestamp.pb.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "server/errors.h"
#include "server/rpc/refusal.h"

namespace whipsnake::server {

// INVALID_ARGUMENT, with the field if that can be found out.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message);

google::protobuf::Timestamp ToTimestamp(std::chrono::system_clock::time_point time);

// Our errors name times as the monotonic clock has them; gRPC's deadlines are wall-clock times.
std::chrono::steady_clock::time_point MonotonicDeadline(
    std::chrono::system_clock::time_point deadline);

// "Generate" for GenerateRequest: our requests are called after their methods.
std::string MethodOf(const google::protobuf::Message& request);

// A unary call that `handle` answers on the spot: absl::Status handle(const Request&, Response*).
template <typename Request, typename Response, typename Handle>
grpc::ServerUnaryReactor* AnswerUnary(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request_bytes,
                                      grpc::ByteBuffer* response_bytes, const Handle& handle) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  Request request;
  Response response;
  absl::Status status = ParseMessage(*request_bytes, &request);
  if (status.ok()) status = handle(request, &response);
  if (status.ok()) *response_bytes = SerializeMessage(response);
  reactor->Finish(EndCallAndLog(context, MethodOf(request), RequestIdOf(*context), status));
  return reactor;
}

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_MESSAGES_H_
