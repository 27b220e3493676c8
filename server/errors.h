// From absl::Status to what a gRPC client sees: the canonical code, a bounded message, and
// google.rpc details in "grpc-status-details-bin".
//
// A detail travels inside the server as a payload of the absl::Status under its type URL, as absl
// recommends, so code that makes an error can say what it knows and code that passes it on need not
// care.
#ifndef WHIPSNAKE_SERVER_ERRORS_H_
#define WHIPSNAKE_SERVER_ERRORS_H_

#include <grpcpp/support/status.h>

#include <chrono>
#include <string_view>

#include "absl/status/status.h"

namespace whipsnake::server {

// ErrorInfo.domain of every error.
inline constexpr std::string_view kErrorDomain = "whipsnake";
// Longer messages are cut. Details and message together stay under HTTP/2's usual 8 KiB of headers.
inline constexpr int kMaxMessageBytes = 1024;

// Each returns `status` with a detail added; of a kind there is one, the last that was set.

// ErrorInfo.reason, UPPER_SNAKE_CASE. Without it the reason is the name of the code.
absl::Status WithReason(absl::Status status, std::string_view reason);
// RetryInfo. Without it RESOURCE_EXHAUSTED and UNAVAILABLE advise one second.
absl::Status WithRetry(absl::Status status, std::chrono::milliseconds delay);
// ResourceInfo, such as ("model", "mamba-130m").
absl::Status WithResource(absl::Status status, std::string_view type, std::string_view name);
// RequestInfo: which request it was.
absl::Status WithRequestId(absl::Status status, std::string_view request_id);
// PreconditionFailure: what has to change first, such as ("MODEL_STATE", "mamba-130m").
absl::Status WithPrecondition(absl::Status status, std::string_view type, std::string_view subject);

// What a draining server answers: try another one.
absl::Status DrainingError();

// The engine names fields relative to its own request ("sampling.top_p"); this puts `prefix`
// ("parameters.") before each field and its message. A status without fields is returned as it is.
absl::Status WithFieldPrefix(const absl::Status& status, std::string_view prefix);

// A file of the model's that is wrong or missing is not the request's fault, as INVALID_ARGUMENT or
// NOT_FOUND would say: makes it DATA_LOSS. One that the system does not let the server read is
// a StorageError. Other statuses, such as UNIMPLEMENTED, are returned as they are.
absl::Status BlameCheckpoint(const absl::Status& status);

// What the client is told when the server's own files fail: `text`, with INTERNAL, or
// RESOURCE_EXHAUSTED where the disk is full. The log gets the rest, at error level. OK stays OK.
absl::Status StorageError(const absl::Status& status, std::string_view text);

// The message is that for clients (engine::ClientMessage). ErrorInfo is always there; BadRequest
// with INVALID_ARGUMENT where fields are known, each cut to its share of what fits; then what was
// attached.
grpc::Status ToGrpc(const absl::Status& status);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ERRORS_H_
