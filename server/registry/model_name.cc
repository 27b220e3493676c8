#include "server/registry/model_name.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

constexpr size_t kMaxSegment = 63;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool BeginsSegment(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || IsDigit(c);
}

bool IsSegment(std::string_view text) {
  return !text.empty() && text.size() <= kMaxSegment && BeginsSegment(text.front()) &&
         std::ranges::all_of(
             text, [](char c) { return BeginsSegment(c) || c == '-' || c == '_' || c == '.'; });
}

bool IsName(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == text.npos) return IsSegment(text);
  return IsSegment(text.substr(0, slash)) && IsSegment(text.substr(slash + 1));
}

bool IsNumber(std::string_view text) { return std::ranges::all_of(text, IsDigit); }

bool IsVersion(std::string_view text) {
  int64_t number = 0;
  return IsNumber(text) && (text.size() == 1 || text.front() != '0') &&
         absl::SimpleAtoi(engine::ToAbsl(text), &number) && number <= kMaxVersion;
}

bool IsTag(std::string_view text) {
  return IsSegment(text) && (!IsNumber(text) || IsVersion(text));
}

constexpr std::string_view kSegment =
    "1 to 63 of A-Z, a-z, 0-9, '-', '_', '.', beginning with a letter or digit";

}  // namespace

std::optional<int64_t> ModelName::version() const {
  int64_t number = 0;
  if (tag.empty() || !IsVersion(tag) || !absl::SimpleAtoi(tag, &number)) return std::nullopt;
  return number;
}

std::string ModelName::text() const { return tag.empty() ? name : name + ":" + tag; }

absl::StatusOr<ModelName> ParseModelName(std::string_view text, std::string_view field) {
  const size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const std::string_view tag = colon == text.npos ? "" : text.substr(colon + 1);
  if (!IsName(name) || (colon != text.npos && !IsTag(tag))) {
    return engine::InvalidField(
        field, engine::Quoted(text),
        absl::StrCat("[organisation/]name[:version or alias], each ", engine::ToAbsl(kSegment)));
  }
  return ModelName{std::string(name), std::string(tag)};
}

absl::Status CheckModelName(std::string_view text, std::string_view field) {
  if (IsName(text)) return absl::OkStatus();
  return engine::InvalidField(
      field, engine::Quoted(text),
      absl::StrCat("[organisation/]name without a tag, each ", engine::ToAbsl(kSegment)));
}

absl::Status CheckAlias(std::string_view alias, std::string_view field) {
  if (IsSegment(alias) && !IsNumber(alias)) return absl::OkStatus();
  return engine::InvalidField(field, engine::Quoted(alias),
                              absl::StrCat(engine::ToAbsl(kSegment), ", and not only digits"));
}

std::string VersionKey(std::string_view name, int64_t version) {
  return absl::StrCat(engine::ToAbsl(name), ":", version);
}

}  // namespace whipsnake::server
