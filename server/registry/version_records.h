// What the store keeps of versions, as JSON: a record for each version in kModelVersions (key
// "support:3", parent "support"), and a record for each name in kModelAliases (key "support").
#ifndef WHIPSNAKE_SERVER_REGISTRY_VERSION_RECORDS_H_
#define WHIPSNAKE_SERVER_REGISTRY_VERSION_RECORDS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/store.h"

namespace whipsnake::server {

// Never changes.
struct VersionRecord {
  std::string directory;           // its name in DataDirectory::models()
  std::string scheme, state_type;  // as for ParseModelOptions
  std::string source_job;
  int64_t checkpoint_step = 0;

  bool operator==(const VersionRecord&) const = default;
};

// A version that began to serve.
struct Served {
  int64_t version = 0;
  WallTime time;  // in milliseconds

  bool operator==(const Served&) const = default;
};

// The model that a client had loaded under the name.
struct ClientModel {
  std::string path;  // relative to the model root
  std::string scheme, state_type;

  bool operator==(const ClientModel&) const = default;
};

// Everything that changes about the versions of a name.
struct NameRecord {
  static constexpr size_t kMaxHistory = 100;

  int64_t last_version = 0;  // the largest number ever assigned
  std::map<std::string, int64_t> aliases;
  std::vector<Served> history;      // the last kMaxHistory; the last one serves
  std::optional<ClientModel> base;  // version 0, if a client loaded it

  // The version that serves, or nullopt if none ever did.
  std::optional<int64_t> serving() const;
  // Appends to the history, unless the version serves already.
  void Serve(int64_t version, WallTime time);
  // Whether the version serves or has an alias.
  bool Uses(int64_t version) const;

  bool operator==(const NameRecord&) const = default;
};

std::string ToJson(const VersionRecord& record);
std::string ToJson(const NameRecord& record);
// DATA_LOSS for text that ToJson does not write.
absl::StatusOr<VersionRecord> ParseVersionRecord(std::string_view text);
absl::StatusOr<NameRecord> ParseNameRecord(std::string_view text);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_VERSION_RECORDS_H_
