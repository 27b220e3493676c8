// Errors about fields of a request: all of them at once, where several are wrong.
#ifndef WHIPSNAKE_ENGINE_BASE_FIELD_ERRORS_H_
#define WHIPSNAKE_ENGINE_BASE_FIELD_ERRORS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// A field that is wrong, and the message that says how: "n: 0 seen, expected 1 to 64".
struct FieldViolation {
  std::string field;
  std::string message;
};

// INVALID_ARGUMENT about one field or several; the messages follow one another. At least one.
absl::Status InvalidFields(const std::vector<FieldViolation>& violations);

// The fields that an error is about: none, where it is about none.
std::vector<FieldViolation> ViolationsOf(const absl::Status& status);

// Collects what is wrong with a request, so that its sender learns all of it at once.
class FieldErrors {
 public:
  // Whether the status is OK. An error is kept.
  bool Add(const absl::Status& status);
  // Moves the value into `target`, or keeps the error.
  template <typename T, typename Target>
  bool Add(absl::StatusOr<T> value, Target* target) {
    if (Add(value.status())) *target = *std::move(value);
    return value.ok();
  }
  // OK; or all errors about fields as one, a single one as it was added; or, where there are none
  // of those, the first other one.
  absl::Status status() const;

 private:
  std::vector<FieldViolation> violations_;
  absl::Status only_;  // the error about fields, while there is one
  absl::Status other_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_FIELD_ERRORS_H_
