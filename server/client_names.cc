#include "server/client_names.h"

#include <algorithm>

#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

constexpr size_t kMaxNameLength = 63;
constexpr size_t kMaxLabels = 64, kMaxKeyBytes = 63, kMaxValueBytes = 255;

bool IsLetterOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

}  // namespace

absl::Status CheckName(std::string_view field, std::string_view name) {
  const bool valid =
      !name.empty() && name.size() <= kMaxNameLength && IsLetterOrDigit(name.front()) &&
      std::all_of(name.begin(), name.end(),
                  [](char c) { return IsLetterOrDigit(c) || c == '-' || c == '_' || c == '.'; });
  if (valid) return absl::OkStatus();
  return engine::InvalidField(
      field, engine::Quoted(name),
      "1 to 63 of a-z, 0-9, '-', '_', '.', beginning with a letter or digit");
}

absl::Status CheckLabels(const std::map<std::string, std::string>& labels) {
  if (labels.size() > kMaxLabels) {
    return engine::InvalidField("labels", absl::StrCat(labels.size(), " labels"),
                                absl::StrCat("at most ", kMaxLabels));
  }
  for (const auto& [key, value] : labels) {
    if (key.empty() || key.size() > kMaxKeyBytes) {
      return engine::InvalidField("labels", absl::StrCat("a key of ", key.size(), " bytes"),
                                  absl::StrCat("1 to ", kMaxKeyBytes));
    }
    if (value.size() > kMaxValueBytes) {
      return engine::InvalidField("labels", absl::StrCat("a value of ", value.size(), " bytes"),
                                  absl::StrCat("at most ", kMaxValueBytes));
    }
  }
  return absl::OkStatus();
}

}  // namespace whipsnake::server
