// Converts absl::Status to what a gRPC client sees: the canonical code, a bounded message, and
// google.rpc details in "grpc-status-details-bin".
//
// Inside the server a detail is a payload of the absl::Status under its type URL, as absl
// recommends. Code that creates an error attaches what it knows, and code that passes it on does
// not need to know about details.
#ifndef WHIPSNAKE_SERVER_ERRORS_H_
#define WHIPSNAKE_SERVER_ERRORS_H_

#include <grpcpp/support/status.h>

#include <chrono>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"

namespace whipsnake::server {

// ErrorInfo.domain of every error.
inline constexpr std::string_view kErrorDomain = "whipsnake";
// Longer messages are truncated. Details and message together stay below HTTP/2's usual limit of 8
// KiB for headers.
inline constexpr int kMaxMessageBytes = 1024;

// Each of these returns `status` with a detail added. A detail of the same kind is replaced.

// ErrorInfo.reason, in UPPER_SNAKE_CASE. Default: the name of the code. `metadata` is for numbers
// and names that a program may need.
using ErrorMetadata = std::initializer_list<std::pair<std::string_view, std::string>>;
absl::Status WithReason(absl::Status status, std::string_view reason, ErrorMetadata metadata = {});
// The reason that WithReason has set, or the name of the code.
std::string ReasonOf(const absl::Status& status);
// RetryInfo. Default for RESOURCE_EXHAUSTED and UNAVAILABLE: one second.
absl::Status WithRetry(absl::Status status, std::chrono::milliseconds delay);
// ResourceInfo, such as ("model", "mamba-130m").
absl::Status WithResource(absl::Status status, std::string_view type, std::string_view name);
// PreconditionFailure: what has to change first, such as ("MODEL_STATE", "mamba-130m").
absl::Status WithPrecondition(absl::Status status, std::string_view type, std::string_view subject);

// The error of a draining server: UNAVAILABLE, with a retry after five seconds.
absl::Status DrainingError();

// The error of what needs a data directory on a server without one: FAILED_PRECONDITION
// (NO_DATA_DIRECTORY).
absl::Status NoDataDirectory();

// Converts an error in a model's files. A wrong or missing file is not the request's fault, so
// INVALID_ARGUMENT and NOT_FOUND become DATA_LOSS. A file that the system does not let the server
// read becomes a StorageError. Other statuses, such as UNIMPLEMENTED, are returned unchanged.
absl::Status AsCheckpointError(const absl::Status& status);

// The error for clients when the server's own files fail: `text` with RESOURCE_EXHAUSTED if the
// disk is full (STORAGE_FULL), or memory or descriptors lack, else with INTERNAL (STORAGE_FAILED).
// The message is only logged, at error level. OK is returned unchanged. Counted, see LogDiskError.
absl::Status StorageError(const absl::Status& status, std::string_view text);

// Uses the message for clients (engine::ClientMessage). Always has ErrorInfo; has BadRequest for
// INVALID_ARGUMENT with known fields, each truncated to its share of the space; and has the details
// that were attached.
grpc::Status ToGrpc(const absl::Status& status);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ERRORS_H_
