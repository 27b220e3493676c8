// The names of models: "[organisation/]name[:tag]". "acme/Support" is a name, "acme/Support:3" a
// version of it, "acme/Support:stable" an alias for a version. Names that differ in case are
// different names.
//
// Names are keys of tables only. No path is made of one, but for models--Org--Name in a cache of
// the Hugging Face hub, where a name has neither "/" nor "..".
#ifndef WHIPSNAKE_SERVER_REGISTRY_MODEL_NAME_H_
#define WHIPSNAKE_SERVER_REGISTRY_MODEL_NAME_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::server {

// The largest number of a version.
inline constexpr int64_t kMaxVersion = 999'999'999;

struct ModelName {
  std::string name;  // with its organisation, if it has one
  std::string tag;   // the number of a version, an alias, or "" for neither

  // The version that the tag is the number of.
  std::optional<int64_t> version() const;
  // What was parsed.
  std::string text() const;

  bool operator==(const ModelName&) const = default;
};

// Organisation, name and tag are each 1 to 63 characters of A-Z, a-z, 0-9, '-', '_' and '.',
// beginning with a letter or digit. A tag of digits only is a version: 0 to kMaxVersion without
// leading zeros. Returns INVALID_ARGUMENT with the field for any other text.
absl::StatusOr<ModelName> ParseModelName(std::string_view text, std::string_view field = "name");

// Returns INVALID_ARGUMENT with the field unless this is a name without a tag.
absl::Status CheckModelName(std::string_view text, std::string_view field = "name");

// Returns INVALID_ARGUMENT with the field unless this is what a tag may be, and no number.
absl::Status CheckAlias(std::string_view alias, std::string_view field);

// Returns "support:3".
std::string VersionKey(std::string_view name, int64_t version);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_MODEL_NAME_H_
