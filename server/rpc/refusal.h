// What a call that fails is told, and what the log is told of it: always with the id by which its
// client, or we, call the request.
#ifndef WHIPSNAKE_SERVER_RPC_REFUSAL_H_
#define WHIPSNAKE_SERVER_RPC_REFUSAL_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace whipsnake::server {

// Trailing metadata of a call that fails; of a call that comes, for methods whose request has no
// request_id.
inline constexpr const char* kRequestIdMetadata = "x-request-id";
inline constexpr int kMaxRequestIdCharacters = 128;

// Thread-safe; not for secrets.
uint64_t MadeUpNumber();

// What identifies the request: `given`, else the client's metadata, else an id that is made here.
// One that is too long or no text is passed over.
std::string RequestIdOf(const grpc::CallbackServerContext& context, std::string_view given = "");

// `status` for gRPC, with the request's id in its details and, where it fails, in the trailing
// metadata. Before the call's Finish.
grpc::Status EndCall(grpc::CallbackServerContext* context, std::string_view request_id,
                     const absl::Status& status);

// The line of a call that was not let in or could not be answered. May block, as the log does.
// `method`: "Generate"; `model` may be "".
void LogRefusal(std::string_view method, std::string_view model, std::string_view request_id,
                const absl::Status& status);

// EndCall, and LogRefusal where the status is not OK.
grpc::Status EndCallAndLog(grpc::CallbackServerContext* context, std::string_view method,
                           std::string_view request_id, const absl::Status& status);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_REFUSAL_H_
