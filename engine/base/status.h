// The engine's error type is absl::Status. A message names the thing, the value seen and the value
// expected. If an error is about one field of a request, the field's path is attached as a payload,
// so that the server can fill in google.rpc.BadRequest while the engine does not depend on
// protobuf. An error about a file has two messages: the status message, for the operator of the
// program, has the path; the message for clients of a server does not.
#ifndef WHIPSNAKE_ENGINE_BASE_STATUS_H_
#define WHIPSNAKE_ENGINE_BASE_STATUS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace whipsnake::engine {

// Converts to absl::string_view, which is not std::string_view in Debian 12.
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

// Formats foreign text for a message: quoted, escaped to ASCII, cut after 200 bytes.
std::string Quoted(std::string_view text);

// Returns INVALID_ARGUMENT "sampling.temperature: 3 seen, expected a number from 0 to 2", with the
// field attached.
absl::Status InvalidField(std::string_view field, std::string_view seen, std::string_view expected);

// Returns the field that InvalidField attached, or "".
std::string FieldOf(const absl::Status& status);

// Returns the same status with `context` and ": " before both messages; payloads are kept.
absl::Status WithContext(const absl::Status& status, std::string_view context);

// Like WithContext, with a path as the context. The client message gets only its last component.
absl::Status WithPath(const absl::Status& status, std::string_view path);

// Returns the message for clients, which equals the status message unless that contains a path.
std::string ClientMessage(const absl::Status& status);

// Returns the same status with another code or another client message; payloads are kept.
absl::Status WithCode(const absl::Status& status, absl::StatusCode code);
absl::Status WithClientMessage(const absl::Status& status, std::string_view text);

}  // namespace whipsnake::engine

#define WHIPSNAKE_CONCAT_(a, b) a##b
#define WHIPSNAKE_CONCAT(a, b) WHIPSNAKE_CONCAT_(a, b)

// Returns from the enclosing function if `expression` is not OK.
#define RETURN_IF_ERROR(expression)                                         \
  do {                                                                      \
    if (absl::Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)

// Evaluates a StatusOr; returns its error from the enclosing function, or moves its value into
// `target`.
#define ASSIGN_OR_RETURN(target, expression) \
  ASSIGN_OR_RETURN_(WHIPSNAKE_CONCAT(status_or_, __LINE__), target, expression)
#define ASSIGN_OR_RETURN_(temporary, target, expression)     \
  auto temporary = (expression);                             \
  if (!temporary.ok()) return std::move(temporary).status(); \
  target = *std::move(temporary)

#endif  // WHIPSNAKE_ENGINE_BASE_STATUS_H_
