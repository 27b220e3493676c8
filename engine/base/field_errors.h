// Errors about fields of a request, collected so that all of them are reported at once.
#ifndef WHIPSNAKE_ENGINE_BASE_FIELD_ERRORS_H_
#define WHIPSNAKE_ENGINE_BASE_FIELD_ERRORS_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// An invalid field and a message that says what is wrong: "n: 0 seen, expected 1 to 64".
struct FieldViolation {
  std::string field;
  std::string message;
};

// Returns INVALID_ARGUMENT for one or more fields, with their messages joined by "; ". `violations`
// must not be empty.
absl::Status InvalidFields(const std::vector<FieldViolation>& violations);

// Returns the fields that the error is about; empty if it is not about fields.
std::vector<FieldViolation> ViolationsOf(const absl::Status& status);

// Adds `prefix` ("parameters.") to each field and its message, because the callee names fields
// relative to its own parameters ("sampling.top_p"). The payloads of others are kept. A status
// without fields is returned unchanged.
absl::Status WithFieldPrefix(const absl::Status& status, std::string_view prefix);

// Collects the errors in a request, so that the sender gets all of them at once. Not thread-safe.
class FieldErrors {
 public:
  // Records `status` if it is an error. Returns whether it is OK.
  bool Add(const absl::Status& status);
  // Moves the value into `target` or records the error. Returns whether there was a value.
  template <typename T, typename Target>
  bool Add(absl::StatusOr<T> value, Target* target) {
    if (Add(value.status())) *target = *std::move(value);
    return value.ok();
  }
  // Returns OK if there was no error. Errors about fields are combined into one; a single one is
  // returned as it was added. Without errors about fields, returns the first other error.
  absl::Status status() const;

 private:
  std::vector<FieldViolation> violations_;
  absl::Status only_;  // the error about fields, while there is only one
  absl::Status other_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_FIELD_ERRORS_H_
