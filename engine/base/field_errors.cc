#include "engine/base/field_errors.h"

#include <charconv>
#include <string_view>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// The payload lists each violation's field and message in turn, each as length, colon and text
// ("5:a.b_c").
constexpr std::string_view kViolationsPayload = "whipsnake.violations";

// How the types of the engine's own payloads begin.
constexpr std::string_view kOwnPayloads = "whipsnake.";

void AppendText(std::string_view text, std::string* out) {
  absl::StrAppend(out, text.size(), ":", ToAbsl(text));
}

// Removes the first encoded text from `rest` and returns it.
std::string TakeText(std::string_view* rest) {
  size_t size = 0;
  const auto [end, error] = std::from_chars(rest->data(), rest->data() + rest->size(), size);
  rest->remove_prefix(end - rest->data() + 1);
  const std::string text(rest->substr(0, size));
  rest->remove_prefix(size);
  return text;
}

}  // namespace

absl::Status InvalidFields(const std::vector<FieldViolation>& violations) {
  std::string message, payload;
  for (const FieldViolation& violation : violations) {
    absl::StrAppend(&message, message.empty() ? "" : "; ", violation.message);
    AppendText(violation.field, &payload);
    AppendText(violation.message, &payload);
  }
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(ToAbsl(kViolationsPayload), absl::Cord(payload));
  return status;
}

std::vector<FieldViolation> ViolationsOf(const absl::Status& status) {
  std::vector<FieldViolation> violations;
  const auto payload = status.GetPayload(ToAbsl(kViolationsPayload));
  if (!payload) return violations;
  const std::string text(*payload);
  for (std::string_view rest = text; !rest.empty();) {
    std::string field = TakeText(&rest);
    violations.push_back({std::move(field), TakeText(&rest)});
  }
  return violations;
}

absl::Status WithFieldPrefix(const absl::Status& status, std::string_view prefix) {
  std::vector<FieldViolation> violations = ViolationsOf(status);
  if (violations.empty()) return status;
  for (FieldViolation& violation : violations) {
    violation.field.insert(0, prefix);
    violation.message.insert(0, prefix);
  }
  absl::Status result = InvalidFields(violations);
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    if (!absl::StartsWith(type, ToAbsl(kOwnPayloads))) result.SetPayload(type, payload);
  });
  return result;
}

bool FieldErrors::Add(const absl::Status& status) {
  if (status.ok()) return true;
  std::vector<FieldViolation> violations = ViolationsOf(status);
  // The status message may have gained a context since, so use it for a single violation.
  if (violations.size() == 1) violations.front().message = ClientMessage(status);
  if (violations.empty()) {
    if (other_.ok()) other_ = status;
    return false;
  }
  only_ = violations_.empty() ? status : absl::OkStatus();
  violations_.insert(violations_.end(), violations.begin(), violations.end());
  return false;
}

absl::Status FieldErrors::status() const {
  if (violations_.empty()) return other_;
  return only_.ok() ? InvalidFields(violations_) : only_;
}

}  // namespace whipsnake::engine
