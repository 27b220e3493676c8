// The versions of models: their records and files, which of them serves, and their aliases.
//
// A version is a model directory that was promoted under a name. It has the next number of the
// name; a number is not used again, and numbers may have gaps. The version that serves and those
// with an alias are loaded, now and after a restart. Version 0 is the base: the model that the
// command line or a client loaded under the name itself, before anything was promoted. It has no
// record and no files here.
//
// A promotion is durable in this order:
//   1. The files are linked into a new directory in DataDirectory::models().
//   2. The number is taken, in the record of the name.
//   3. The version is loaded.
//   4. One transaction makes the record of the version, lets it serve, and moves its alias.
//   5. The registry lets the name lead to it. The model before is retired.
// A crash before 4 leaves the version before serving, and the next start removes the directory. A
// crash after 4 leaves the new version serving. If the store cannot tell whether 4 is durable
// (COMMIT_IN_DOUBT), the promotion has failed, and the next start finds one or the other. A record
// is made after its directory and removed before it, so no record is without a directory.
//
// After a restart, a version that serves takes the place of a model of the command line with the
// same name. RollBack to version 0 returns to that model.
#ifndef WHIPSNAKE_SERVER_REGISTRY_MODEL_VERSIONS_H_
#define WHIPSNAKE_SERVER_REGISTRY_MODEL_VERSIONS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "server/registry/model_name.h"
#include "server/registry/model_registry.h"
#include "server/registry/version_records.h"
#include "server/store/store.h"

namespace whipsnake::server {

struct Promotion {
  std::string name;                          // without a tag
  std::string directory;                     // a complete model directory; it stays as it is
  std::string scheme = {}, state_type = {};  // as for ParseModelOptions
  std::string source_job = {};
  int64_t checkpoint_step = 0;
  std::string alias = {};    // that leads to the version, too; or ""
  bool keep_loaded = false;  // the version that served before stays loaded
  std::string etag = {};     // see below
};

struct ModelVersion {
  std::string name;
  int64_t number = 0;
  std::string scheme, state_type;
  std::string source_job;
  int64_t checkpoint_step = 0;
  WallTime create_time;
  bool serves = false;
  std::vector<std::string> aliases;  // "stable"; sorted

  std::string key() const { return VersionKey(name, number); }
};

// The versions of a name at one moment.
struct VersionList {
  std::vector<ModelVersion> versions;  // by number
  std::vector<Served> history;         // what served, the latest last
  std::string etag;
};

struct ModelVersionsOptions {
  std::string directory;   // DataDirectory::models()
  std::string model_root;  // of the models that clients load
  // Returns the id of a job that has not ended and began with the version of this key and
  // directory, or "". Null: there are no jobs. Must not call the ModelVersions.
  std::function<std::string(const std::string& key, const std::string& directory)> job_with = {};
};

// Thread-safe. Functions that change a name wait for one another, load models, wait for the disk,
// and are therefore called on threads of their own. After an error, nothing has changed.
//
// Errors of all functions: FAILED_PRECONDITION (NO_DATA_DIRECTORY) without a store.
// INVALID_ARGUMENT with the field for a malformed name, alias or number. NOT_FOUND
// (VERSION_NOT_FOUND, ALIAS_NOT_FOUND) with the resource. ABORTED (ETAG_MISMATCH) if an etag is
// given, and the versions, aliases or history of the name have changed since. RESOURCE_EXHAUSTED
// if the memory does not suffice for both models, if the disk is full, or if there are too many
// versions or aliases. Errors of a load are those of ModelRegistry::Load. INTERNAL and the like
// from the store and the file system, as StorageError.
class ModelVersions {
 public:
  static constexpr size_t kMaxVersionsOfName = 1000;
  static constexpr size_t kMaxAliasesOfName = 100;

  // The store and the registry must outlive this object. Without a store (null) there are no
  // versions.
  ModelVersions(Store* store, ModelRegistry* registry, ModelVersionsOptions options)
      : store_(store), registry_(*registry), options_(std::move(options)) {}

  // Registers the models of the command line, except where a version serves in their place, and
  // the versions that serve or have an alias, and sets the aliases. Removes directories without a
  // record. Returns the keys to load, in this order; a version whose load fails is FAILED in the
  // registry, like any model. A record that cannot be read is logged and left out. Called once,
  // before all other functions.
  absl::StatusOr<std::vector<std::string>> Open(const std::vector<ModelSource>& command_line);

  // Returns the errors of a promotion that are known before its files are there: wrong fields, an
  // old etag, no room. Promote() checks all of that again.
  absl::Status CheckPromotion(const Promotion& promotion) const;
  // Makes a directory the next version of the name, which serves from then on.
  absl::StatusOr<ModelVersion> Promote(const Promotion& promotion);

  // Lets a version serve that exists already. Default: the one that served before the present one
  // and still exists, so that a second call takes the first one back. FAILED_PRECONDITION
  // (NO_EARLIER_VERSION) if there is none, and (BASE_MODEL_GONE) for version 0 if the command line
  // no longer has the model and no client loaded it.
  absl::StatusOr<ModelVersion> RollBack(const std::string& name, std::optional<int64_t> version,
                                        bool keep_loaded, const std::string& etag);

  // Lets the alias ("support:stable") lead to a version, at least 1, of the same name, and loads
  // it if necessary.
  absl::StatusOr<ModelVersion> SetAlias(const std::string& alias, int64_t version,
                                        const std::string& etag);
  absl::Status DeleteAlias(const std::string& alias, const std::string& etag);

  // Removes a version ("support:3") and its files. FAILED_PRECONDITION (VERSION_IN_USE) while it
  // serves or has an alias, or while a job uses it that has not ended.
  absl::Status Delete(const std::string& key, const std::string& etag);

  // Whether a model directory is that of a version.
  bool Holds(const std::string& directory) const;
  // NOT_FOUND if nothing was ever promoted under the name. Does not wait for changes.
  absl::StatusOr<VersionList> List(const std::string& name) const;

 private:
  class Change;
  // The stored record of a name. Revision 0: there is none yet.
  struct StoredName {
    NameRecord record;
    int64_t revision = 0;
  };

  struct Version {
    VersionRecord record;
    WallTime create_time;
  };

  absl::Status CheckEnabled() const;
  // VERSION_IN_USE if the version serves, has an alias, or is that of a job.
  absl::Status CheckUnused(const std::string& key, int64_t version, const NameRecord& name,
                           const VersionRecord& record) const;
  absl::Status CheckRoom(const std::string& name, const NameRecord& record,
                         const std::string& alias) const;
  static absl::Status CheckRoomForAlias(const std::string& name, const NameRecord& record,
                                        const std::string& alias);

  absl::StatusOr<std::vector<Record>> All(Collection collection) const;
  absl::StatusOr<StoredName> ReadName(const std::string& name) const;
  // Also checks the etag, unless it is empty.
  absl::StatusOr<StoredName> ReadName(const std::string& name, const std::string& etag) const;
  // Checks the etag and the room as well.
  absl::StatusOr<StoredName> ReadForPromotion(const Promotion& promotion) const;
  absl::StatusOr<Version> ReadVersion(const std::string& name, int64_t version) const;
  absl::StatusOr<ModelVersion> Describe(const std::string& name, int64_t version,
                                        const NameRecord& record) const;
  ModelVersion DescribeBase(const std::string& name, const NameRecord& record) const;
  absl::StatusOr<int64_t> EarlierVersion(const std::string& name, const NameRecord& record) const;
  // Commits `more` and, as the last write, `next` as the record of the name.
  absl::StatusOr<Committed> Commit(const std::string& name, StoredName& stored, NameRecord next,
                                   std::vector<Write> more = {});

  absl::StatusOr<ModelSource> MakeVersionSource(const std::string& key,
                                                const VersionRecord& version) const;
  absl::StatusOr<ModelSource> BaseSource(const std::string& name, const NameRecord& record) const;
  absl::StatusOr<ModelSource> SourceOf(const std::string& name, int64_t version,
                                       const NameRecord& record) const;

  // The parts of Open.
  absl::StatusOr<std::map<std::string, NameRecord>> ReadNames() const;
  absl::Status RemoveUnrecorded() const;
  // Registers the versions of a name that serve or have an alias, and returns their keys.
  std::vector<std::string> RegisterUsed(const std::string& name, const NameRecord& record);
  // Records the model that serves under the name itself as version 0.
  void RecordBase(const std::string& name, NameRecord& record) const;
  // The steps 2 to 5 of a promotion whose files are in `directory`.
  absl::StatusOr<ModelVersion> Serve(const Promotion& promotion, const std::string& directory,
                                     StoredName& stored);
  // Loads a model if necessary, and commits. After an error, it is loaded only if it was needed
  // before.
  absl::StatusOr<Committed> LoadAndCommit(const std::string& name, const ModelSource& source,
                                          StoredName& stored, NameRecord next,
                                          std::vector<Write> more = {});
  // Lets a name or an alias lead to the key, and retires the model that it led to.
  void Lead(const std::string& alias, const std::string& key, bool keep_loaded = false);
  // Loads a version, commits `next`, in which `alias` leads to it, and lets the alias lead to it.
  absl::StatusOr<ModelVersion> LoadAndLead(const std::string& name, int64_t version,
                                           const std::string& alias, StoredName& stored,
                                           NameRecord next, bool keep_loaded);

  Store* const store_;
  ModelRegistry& registry_;
  const ModelVersionsOptions options_;
  std::map<std::string, ModelSource> command_line_;  // by name; constant after Open
  engine::Mutex mutex_;
  engine::CondVar ended_;                                   // a change has ended
  std::set<std::string> changing_ ABSL_GUARDED_BY(mutex_);  // names
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_MODEL_VERSIONS_H_
