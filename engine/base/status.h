// The one error type is absl::Status. Its message names the thing, the value seen and the value
// expected. Where an error is about one field of a request, the field's path travels beside the
// message, so that the server can put it into google.rpc.BadRequest without the engine knowing
// protobuf. An error about a file has two texts: the message, which is for whoever runs the
// program, names the path; the one for clients of a server does not.
#ifndef WHIPSNAKE_ENGINE_BASE_STATUS_H_
#define WHIPSNAKE_ENGINE_BASE_STATUS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace whipsnake::engine {

// Debian 12's absl::string_view is not std's: the one conversion.
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

// Text of others in a message: in quotes, escaped to ASCII, cut where it is long.
std::string Quoted(std::string_view text);

// INVALID_ARGUMENT "sampling.temperature: 3 seen, expected a number from 0 to 2", with the field
// attached.
absl::Status InvalidField(std::string_view field, std::string_view seen, std::string_view expected);

// The field that InvalidField attached, or "".
std::string FieldOf(const absl::Status& status);

// The same status with `context` and ": " before both of its texts; payloads are kept.
absl::Status WithContext(const absl::Status& status, std::string_view context);

// The same with a path as the context, of which a client sees the last part alone.
absl::Status WithPath(const absl::Status& status, std::string_view path);

// The text for clients: the message, where no path is in it.
std::string ClientMessage(const absl::Status& status);

// The same status with another code, or another text for clients; payloads are kept.
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

// Evaluates a StatusOr; returns its error, or moves its value into `target`.
#define ASSIGN_OR_RETURN(target, expression) \
  ASSIGN_OR_RETURN_(WHIPSNAKE_CONCAT(status_or_, __LINE__), target, expression)
#define ASSIGN_OR_RETURN_(temporary, target, expression)     \
  auto temporary = (expression);                             \
  if (!temporary.ok()) return std::move(temporary).status(); \
  target = *std::move(temporary)

#endif  // WHIPSNAKE_ENGINE_BASE_STATUS_H_
