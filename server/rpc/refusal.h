// How a failed call is reported to the client and to the log, always with the request's id.
#ifndef WHIPSNAKE_SERVER_RPC_REFUSAL_H_
#define WHIPSNAKE_SERVER_RPC_REFUSAL_H_

#include <grpcpp/support/status.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/guarded.h"

namespace grpc {
class CallbackServerContext;
}

namespace whipsnake::server {

// Trailing metadata of a failed call, and metadata in which a client may send the id, for example
// for methods whose request has no request_id.
inline constexpr const char* kRequestIdMetadata = "x-request-id";

// Returns the request's id: `given`, otherwise the client's metadata, otherwise a generated id. An
// id that is empty, too long or not UTF-8 is skipped.
std::string RequestIdOf(const grpc::CallbackServerContext& context, std::string_view given = "");

// Returns `status` for gRPC. An error has the request's id in its details, and in the trailing
// metadata if the id is printable ASCII. To be called before the call's Finish.
grpc::Status EndCall(grpc::CallbackServerContext* context, std::string_view request_id,
                     const absl::Status& status);

// Returns what `make` returns: the status for the call's Finish. `make` may also serialize the
// response. If it throws, the exception is logged, and the status is RESOURCE_EXHAUSTED without a
// text, which takes no memory. Every Finish that runs in a callback needs this: gRPC drops an
// exception, and a call that is not finished stays for ever.
template <typename Make>
grpc::Status MakeEnd(const Make& make) noexcept {
  grpc::Status status(grpc::RESOURCE_EXHAUSTED, "");
  RunGuarded("rpc", [&] { status = make(); });
  return status;
}

// Logs a call that was refused or could not be answered. May block, like the log. `method`:
// "Generate"; `model` may be "".
void LogRefusal(std::string_view method, std::string_view model, std::string_view request_id,
                const absl::Status& status);

// EndCall with the id of RequestIdOf, and LogRefusal if the status is not OK.
grpc::Status EndCallAndLog(grpc::CallbackServerContext* context, std::string_view method,
                           const absl::Status& status);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_REFUSAL_H_
