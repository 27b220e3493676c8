#include "engine/base/status.h"

#include <string>
#include <string_view>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"

namespace whipsnake::engine {
namespace {

constexpr std::string_view kFieldPayload = "whipsnake.field";

}  // namespace

std::string Quoted(std::string_view text) {
  constexpr size_t kLongest = 200;
  const std::string escaped = absl::CHexEscape(ToAbsl(text.substr(0, kLongest)));
  return absl::StrCat("\"", escaped, text.size() > kLongest ? "...\"" : "\"");
}

absl::Status InvalidField(std::string_view field, std::string_view seen,
                          std::string_view expected) {
  absl::Status status = absl::InvalidArgumentError(
      absl::StrCat(ToAbsl(field), ": ", ToAbsl(seen), " seen, expected ", ToAbsl(expected)));
  status.SetPayload(ToAbsl(kFieldPayload), absl::Cord(ToAbsl(field)));
  return status;
}

std::string FieldOf(const absl::Status& status) {
  const auto payload = status.GetPayload(ToAbsl(kFieldPayload));
  return payload ? std::string(*payload) : std::string();
}

absl::Status WithContext(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status result(status.code(), absl::StrCat(ToAbsl(context), ": ", status.message()));
  status.ForEachPayload(
      [&](absl::string_view type, const absl::Cord& payload) { result.SetPayload(type, payload); });
  return result;
}

}  // namespace whipsnake::engine
