// A unary call of a client command.
#ifndef WHIPSNAKE_SERVER_CLI_UNARY_CALL_H_
#define WHIPSNAKE_SERVER_CLI_UNARY_CALL_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include "absl/status/statusor.h"
#include "engine/base/status.h"
#include "server/cli/client.h"

namespace whipsnake::server {

// Calls a method of a generated service, with the deadline of the flags if they have one. Returns
// the response, or an error for the user (see ClientError).
//
//   UnaryCall<v1::StateService>(flags.client, &v1::StateService::StubInterface::GetState, request)
template <typename Service, typename Request, typename Response>
absl::StatusOr<Response> UnaryCall(
    const ClientFlags& flags,
    grpc::Status (Service::StubInterface::*method)(grpc::ClientContext*, const Request&, Response*),
    const Request& request) {
  RETURN_IF_ERROR(CheckRequestSize(request));
  const auto stub = Service::NewStub(Connect(flags));
  grpc::ClientContext context;
  SetDeadline(flags, context);
  Response response;
  const grpc::Status status = (stub.get()->*method)(&context, request, &response);
  if (!status.ok()) return ClientError(status, flags);
  return response;
}

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_UNARY_CALL_H_
