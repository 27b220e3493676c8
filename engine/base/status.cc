#include "engine/base/status.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "engine/base/field_errors.h"

namespace whipsnake::engine {
namespace {

constexpr std::string_view kClientPayload = "whipsnake.client_message";  // if it differs

absl::Status Made(absl::StatusCode code, absl::string_view message, const absl::Status& payloads) {
  absl::Status result(code, message);
  payloads.ForEachPayload(
      [&](absl::string_view type, const absl::Cord& payload) { result.SetPayload(type, payload); });
  return result;
}

// Prepends a context to each of the two messages.
absl::Status WithContexts(const absl::Status& status, std::string_view context,
                          std::string_view client_context) {
  if (status.ok()) return status;
  const std::string client = absl::StrCat(ToAbsl(client_context), ": ", ClientMessage(status));
  const absl::Status result =
      Made(status.code(), absl::StrCat(ToAbsl(context), ": ", status.message()), status);
  return client == result.message() ? result : WithClientMessage(result, client);
}

}  // namespace

std::string Quoted(std::string_view text) {
  constexpr size_t kLongest = 200;
  const std::string escaped = absl::CHexEscape(ToAbsl(text.substr(0, kLongest)));
  return absl::StrCat("\"", escaped, text.size() > kLongest ? "...\"" : "\"");
}

absl::Status InvalidField(std::string_view field, std::string_view seen,
                          std::string_view expected) {
  return InvalidFields({{std::string(field), absl::StrCat(ToAbsl(field), ": ", ToAbsl(seen),
                                                          " seen, expected ", ToAbsl(expected))}});
}

std::string FieldOf(const absl::Status& status) {
  const std::vector<FieldViolation> violations = ViolationsOf(status);
  return violations.empty() ? std::string() : violations.front().field;
}

absl::Status WithContext(const absl::Status& status, std::string_view context) {
  return WithContexts(status, context, context);
}

absl::Status WithPath(const absl::Status& status, std::string_view path) {
  std::string_view name = path;
  while (name.size() > 1 && name.back() == '/') name.remove_suffix(1);
  return WithContexts(status, path, name.substr(name.rfind('/') + 1));
}

std::string ClientMessage(const absl::Status& status) {
  const auto payload = status.GetPayload(ToAbsl(kClientPayload));
  return payload ? std::string(*payload) : std::string(status.message());
}

absl::Status WithCode(const absl::Status& status, absl::StatusCode code) {
  return Made(code, status.message(), status);
}

absl::Status WithClientMessage(const absl::Status& status, std::string_view text) {
  absl::Status result = status;
  result.SetPayload(ToAbsl(kClientPayload), absl::Cord(ToAbsl(text)));
  return result;
}

}  // namespace whipsnake::engine
