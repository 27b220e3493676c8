#include "server/registry/model_versions.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/atomic_file.h"
#include "engine/base/field_errors.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "server/disk_errors.h"
#include "server/errors.h"
#include "server/logging.h"
#include "server/registry/model_path.h"
#include "server/registry/version_files.h"

namespace whipsnake::server {
namespace {

constexpr const char* kNotRecorded = "the change could not be recorded";
constexpr const char* kNotRead = "the records of versions could not be read";

constexpr const char* kInDoubt = "COMMIT_IN_DOUBT";  // see Store

bool IsInDoubt(const absl::Status& status) { return ReasonOf(status) == kInDoubt; }

std::string EtagOf(int64_t revision) { return absl::StrCat(revision); }

absl::Status NoVersion(const std::string& key) {
  return WithResource(
      WithReason(absl::NotFoundError(absl::StrCat("no version ", engine::Quoted(key))),
                 "VERSION_NOT_FOUND"),
      "model version", key);
}

absl::Status NothingPromoted(const std::string& name) {
  return WithResource(WithReason(absl::NotFoundError(absl::StrCat("nothing was promoted under ",
                                                                  engine::Quoted(name))),
                                 "VERSION_NOT_FOUND"),
                      "model", name);
}

absl::Status TooMany(std::string_view what, const std::string& name, size_t limit) {
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat(name, " has ", limit, " ", engine::ToAbsl(what),
                                                ", which is the limit; delete some")),
      "TOO_MANY_VERSIONS");
}

absl::StatusOr<ModelSource> MakeSource(const std::string& key, const std::string& scheme,
                                       const std::string& state_type) {
  ModelSource source;
  source.name = key;
  ASSIGN_OR_RETURN(source.options, engine::ParseModelOptions(scheme, state_type));
  return source;
}

// The inverse of ParseModelOptions.
std::string StateTypeName(const engine::ModelOptions& options) {
  if (!options.state_type) return "";
  switch (*options.state_type) {
    case kernels::DType::kBF16:
      return "bf16";
    case kernels::DType::kI8:
      return "int8";
    default:
      return "fp32";
  }
}

std::string SchemeName(const engine::ModelOptions& options) {
  return options.scheme ? std::string(engine::Name(*options.scheme)) : "";
}

absl::Status CheckVersion(int64_t version, int64_t least) {
  if (version >= least && version <= kMaxVersion) return absl::OkStatus();
  return engine::InvalidField("version", absl::StrCat(version),
                              absl::StrCat(least, " to ", kMaxVersion));
}

absl::StatusOr<ModelName> ParseAlias(const std::string& text) {
  ASSIGN_OR_RETURN(ModelName alias, ParseModelName(text, "alias"));
  RETURN_IF_ERROR(CheckAlias(alias.tag, "alias"));
  return alias;
}

absl::Status Check(const Promotion& promotion) {
  engine::FieldErrors errors;
  errors.Add(CheckModelName(promotion.name));
  if (!promotion.alias.empty()) errors.Add(CheckAlias(promotion.alias, "alias"));
  errors.Add(engine::ParseModelOptions(promotion.scheme, promotion.state_type).status());
  return errors.status();
}

void LogUnreadable(const Record& record, const absl::Status& status) {
  LogDiskError("a record of versions is damaged and left out", status, {{"record", record.key}});
}

ModelVersion Describe(const std::string& name, int64_t number, const VersionRecord& version,
                      WallTime create_time, const NameRecord& record) {
  ModelVersion described{.name = name,
                         .number = number,
                         .scheme = version.scheme,
                         .state_type = version.state_type,
                         .source_job = version.source_job,
                         .checkpoint_step = version.checkpoint_step,
                         .create_time = create_time,
                         .serves = record.serving() == number,
                         .aliases = {}};
  for (const auto& [alias, target] : record.aliases) {
    if (target == number) described.aliases.push_back(alias);
  }
  return described;
}

}  // namespace

// Holds a name while it changes, so that its changes happen one after another.
class ModelVersions::Change {
 public:
  Change(ModelVersions& versions, const std::string& name) : versions_(versions), name_(name) {
    engine::MutexLock lock(versions_.mutex_);
    while (!versions_.changing_.insert(name_).second) versions_.ended_.Wait(versions_.mutex_);
  }
  ~Change() {
    engine::MutexLock lock(versions_.mutex_);
    versions_.changing_.erase(name_);
    versions_.ended_.NotifyAll();
  }
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;

 private:
  ModelVersions& versions_;
  const std::string name_;
};

absl::StatusOr<std::vector<std::string>> ModelVersions::Open(
    const std::vector<ModelSource>& command_line) {
  std::map<std::string, NameRecord> names;
  if (store_ != nullptr) {
    ASSIGN_OR_RETURN(names, ReadNames());
    RETURN_IF_ERROR(RemoveUnrecorded());
  }
  std::vector<std::string> keys;
  for (const ModelSource& source : command_line) {
    command_line_[source.name] = source;
    const auto found = names.find(source.name);
    if (found != names.end() && found->second.serving().value_or(0) > 0) {
      Log(LogLevel::kInfo, "a promoted version serves in place of a model of the command line",
          {{"model", source.name}, {"version", *found->second.serving()}});
      continue;
    }
    RETURN_IF_ERROR(registry_.Register(source));
    keys.push_back(source.name);
  }
  for (const auto& [name, record] : names) {
    for (std::string& key : RegisterUsed(name, record)) keys.push_back(std::move(key));
  }
  return keys;
}

absl::StatusOr<std::map<std::string, NameRecord>> ModelVersions::ReadNames() const {
  ASSIGN_OR_RETURN(const std::vector<Record> records, All(Collection::kModelAliases));
  std::map<std::string, NameRecord> names;
  for (const Record& record : records) {
    absl::StatusOr<NameRecord> name = ParseNameRecord(record.value);
    if (!name.ok()) LogUnreadable(record, name.status());
    if (name.ok()) names.emplace(record.key, *std::move(name));
  }
  return names;
}

absl::Status ModelVersions::RemoveUnrecorded() const {
  ASSIGN_OR_RETURN(const std::vector<Record> records, All(Collection::kModelVersions));
  std::set<std::string> recorded;
  bool all_readable = true;
  for (const Record& record : records) {
    const absl::StatusOr<VersionRecord> version = ParseVersionRecord(record.value);
    if (!version.ok()) LogUnreadable(record, version.status());
    all_readable = all_readable && version.ok();
    if (version.ok()) recorded.insert(version->directory);
  }
  // A record that cannot be read may be that of any directory.
  if (!all_readable) return absl::OkStatus();
  engine::SweepTemporaries(options_.directory, /*deep=*/false);
  for (const std::string& directory : RemoveOtherVersions(options_.directory, recorded)) {
    Log(LogLevel::kInfo, "removed the files of a version without a record",
        {{"directory", directory}});
  }
  return absl::OkStatus();
}

std::vector<std::string> ModelVersions::RegisterUsed(const std::string& name,
                                                     const NameRecord& record) {
  std::map<std::string, int64_t> leads;  // to versions
  for (const auto& [alias, version] : record.aliases) leads[name + ":" + alias] = version;
  if (record.serving().value_or(0) > 0) leads[name] = *record.serving();
  std::set<std::string> keys;
  for (const auto& [alias, version] : leads) {
    const std::string key = VersionKey(name, version);
    registry_.SetAlias(alias, key);
    if (keys.contains(key)) continue;
    const absl::StatusOr<ModelSource> source = SourceOf(name, version, record);
    const absl::Status status = source.ok() ? registry_.Register(*source) : source.status();
    if (status.ok()) keys.insert(key);
    if (!status.ok()) {
      Log(LogLevel::kError, "a version cannot be loaded",
          {{"model", key}, {"error", std::string(status.message())}});
    }
  }
  return {keys.begin(), keys.end()};
}

absl::StatusOr<std::vector<Record>> ModelVersions::All(Collection collection) const {
  constexpr int kPage = 1000;
  std::vector<Record> all;
  while (true) {
    auto page = store_->List(collection, all.empty() ? 0 : all.back().number, kPage);
    if (!page.ok()) return StorageError(page.status(), kNotRead);
    all.insert(all.end(), page->begin(), page->end());
    if (std::ssize(*page) < kPage) return all;
  }
}

absl::Status ModelVersions::CheckEnabled() const {
  return store_ != nullptr ? absl::OkStatus() : NoDataDirectory();
}

absl::StatusOr<ModelVersions::StoredName> ModelVersions::ReadName(const std::string& name) const {
  RETURN_IF_ERROR(CheckEnabled());
  const absl::StatusOr<Record> found = store_->Get(Collection::kModelAliases, name);
  if (absl::IsNotFound(found.status())) return StoredName{};
  if (!found.ok()) return StorageError(found.status(), kNotRead);
  absl::StatusOr<NameRecord> record = ParseNameRecord(found->value);
  if (!record.ok()) return StorageError(record.status(), kNotRead);
  return StoredName{*std::move(record), found->revision};
}

absl::StatusOr<ModelVersions::StoredName> ModelVersions::ReadName(const std::string& name,
                                                                  const std::string& etag) const {
  ASSIGN_OR_RETURN(StoredName stored, ReadName(name));
  if (etag.empty() || etag == EtagOf(stored.revision)) return stored;
  return WithResource(
      WithReason(absl::AbortedError(absl::StrCat("etag ", engine::Quoted(etag), " seen, expected ",
                                                 EtagOf(stored.revision), ": the versions of ",
                                                 name, " have changed")),
                 "ETAG_MISMATCH"),
      "model", name);
}

absl::StatusOr<ModelVersions::Version> ModelVersions::ReadVersion(const std::string& name,
                                                                  int64_t version) const {
  const std::string key = VersionKey(name, version);
  const absl::StatusOr<Record> found = store_->Get(Collection::kModelVersions, key);
  if (absl::IsNotFound(found.status())) return NoVersion(key);
  if (!found.ok()) return StorageError(found.status(), kNotRead);
  absl::StatusOr<VersionRecord> record = ParseVersionRecord(found->value);
  if (!record.ok()) return StorageError(record.status(), kNotRead);
  return Version{*std::move(record), found->create_time};
}

absl::StatusOr<ModelVersion> ModelVersions::Describe(const std::string& name, int64_t version,
                                                     const NameRecord& record) const {
  if (version == 0) return DescribeBase(name, record);
  ASSIGN_OR_RETURN(const Version found, ReadVersion(name, version));
  return server::Describe(name, version, found.record, found.create_time, record);
}

ModelVersion ModelVersions::DescribeBase(const std::string& name, const NameRecord& record) const {
  VersionRecord base;
  if (const auto found = command_line_.find(name); found != command_line_.end()) {
    base.scheme = SchemeName(found->second.options);
    base.state_type = StateTypeName(found->second.options);
  } else if (record.base) {
    base.scheme = record.base->scheme;
    base.state_type = record.base->state_type;
  }
  return server::Describe(name, 0, base, WallTime(), record);
}

absl::StatusOr<Committed> ModelVersions::Commit(const std::string& name, StoredName& stored,
                                                NameRecord next, std::vector<Write> more) {
  if (stored.revision == 0) {
    more.push_back(CreateRecord{Collection::kModelAliases, name, "", ToJson(next)});
  } else {
    more.push_back(UpdateRecord{Collection::kModelAliases, name, ToJson(next), stored.revision});
  }
  absl::StatusOr<Committed> committed = store_->Commit(more);
  if (!committed.ok()) {
    const absl::Status error = StorageError(committed.status(), kNotRecorded);
    return IsInDoubt(committed.status()) ? WithReason(error, kInDoubt) : error;
  }
  stored = {std::move(next), committed->records.back().revision};
  return committed;
}

absl::StatusOr<ModelVersions::StoredName> ModelVersions::ReadForPromotion(
    const Promotion& promotion) const {
  ASSIGN_OR_RETURN(StoredName stored, ReadName(promotion.name, promotion.etag));
  RETURN_IF_ERROR(CheckRoom(promotion.name, stored.record, promotion.alias));
  return stored;
}

absl::Status ModelVersions::CheckPromotion(const Promotion& promotion) const {
  RETURN_IF_ERROR(Check(promotion));
  return ReadForPromotion(promotion).status();
}

absl::StatusOr<ModelVersion> ModelVersions::Promote(const Promotion& promotion) {
  RETURN_IF_ERROR(Check(promotion));
  RETURN_IF_ERROR(CheckEnabled());
  const Change change(*this, promotion.name);
  ASSIGN_OR_RETURN(StoredName stored, ReadForPromotion(promotion));
  const std::string directory = NewVersionDirectory();
  const std::string path = options_.directory + "/" + directory;
  RETURN_IF_ERROR(StorageError(LinkFiles(promotion.directory, path),
                               "the files of the version could not be kept"));
  absl::StatusOr<ModelVersion> version = Serve(promotion, directory, stored);
  // If the record is in doubt, the next start may find it. It removes what is left without a
  // record.
  std::error_code left;
  if (!version.ok() && !IsInDoubt(version.status())) std::filesystem::remove_all(path, left);
  return version;
}

absl::StatusOr<ModelVersion> ModelVersions::Serve(const Promotion& promotion,
                                                  const std::string& directory,
                                                  StoredName& stored) {
  const std::string& name = promotion.name;
  NameRecord next = stored.record;
  const int64_t number = ++next.last_version;
  RETURN_IF_ERROR(Commit(name, stored, next).status());

  const std::string key = VersionKey(name, number);
  const VersionRecord version{.directory = directory,
                              .scheme = promotion.scheme,
                              .state_type = promotion.state_type,
                              .source_job = promotion.source_job,
                              .checkpoint_step = promotion.checkpoint_step};
  RecordBase(name, next);
  next.Serve(number, std::chrono::system_clock::now());
  if (!promotion.alias.empty()) next.aliases[promotion.alias] = number;
  ASSIGN_OR_RETURN(const ModelSource source, MakeVersionSource(key, version));
  ASSIGN_OR_RETURN(
      const Committed committed,
      LoadAndCommit(name, source, stored, std::move(next),
                    {CreateRecord{Collection::kModelVersions, key, name, ToJson(version)}}));
  Lead(name, key, promotion.keep_loaded);
  if (!promotion.alias.empty()) {
    Lead(name + ":" + promotion.alias, key, promotion.keep_loaded);
  }
  return server::Describe(name, number, version, committed.records.front().create_time,
                          stored.record);
}

absl::StatusOr<Committed> ModelVersions::LoadAndCommit(const std::string& name,
                                                       const ModelSource& source,
                                                       StoredName& stored, NameRecord next,
                                                       std::vector<Write> more) {
  absl::StatusOr<Committed> committed;
  const absl::Status loaded = registry_.Ensure(source);
  if (loaded.ok()) committed = Commit(name, stored, std::move(next), std::move(more));
  if (!loaded.ok()) committed = loaded;
  if (!committed.ok()) registry_.Retire(source.name);
  return committed;
}

absl::Status ModelVersions::CheckRoom(const std::string& name, const NameRecord& record,
                                      const std::string& alias) const {
  const absl::StatusOr<std::vector<Record>> versions =
      store_->Children(Collection::kModelVersions, name);
  if (!versions.ok()) return StorageError(versions.status(), kNotRead);
  if (versions->size() >= kMaxVersionsOfName || record.last_version == kMaxVersion) {
    return TooMany("versions", name, kMaxVersionsOfName);
  }
  return CheckRoomForAlias(name, record, alias);
}

void ModelVersions::RecordBase(const std::string& name, NameRecord& record) const {
  if (registry_.KeyOf(name) != name) return;
  const absl::StatusOr<ModelSnapshot> base = registry_.Get(name);
  if (!base.ok()) return;
  record.Serve(0, std::chrono::system_clock::now());
  record.base.reset();
  const ModelSource& source = base->source;
  if (command_line_.contains(name)) return;
  record.base = ClientModel{.path = source.shown_path,
                            .scheme = SchemeName(source.options),
                            .state_type = StateTypeName(source.options)};
}

absl::StatusOr<ModelSource> ModelVersions::MakeVersionSource(const std::string& key,
                                                             const VersionRecord& version) const {
  ASSIGN_OR_RETURN(ModelSource source, MakeSource(key, version.scheme, version.state_type));
  source.directory = options_.directory + "/" + version.directory;
  source.shown_path = "models/" + version.directory;
  source.at_startup = true;
  source.source_job = version.source_job;
  source.checkpoint_step = version.checkpoint_step;
  return source;
}

absl::StatusOr<ModelSource> ModelVersions::SourceOf(const std::string& name, int64_t version,
                                                    const NameRecord& record) const {
  if (version == 0) return BaseSource(name, record);
  ASSIGN_OR_RETURN(const Version found, ReadVersion(name, version));
  return MakeVersionSource(VersionKey(name, version), found.record);
}

absl::StatusOr<ModelSource> ModelVersions::BaseSource(const std::string& name,
                                                      const NameRecord& record) const {
  const std::string key = VersionKey(name, 0);
  if (const auto found = command_line_.find(name); found != command_line_.end()) {
    ModelSource source = found->second;
    source.name = key;
    return source;
  }
  if (record.base) {
    const ClientModel& base = *record.base;
    ASSIGN_OR_RETURN(ModelSource source, MakeSource(key, base.scheme, base.state_type));
    ASSIGN_OR_RETURN(source.directory, ResolveModelPath(options_.model_root, base.path));
    source.shown_path = base.path;
    return source;
  }
  return WithPrecondition(
      WithReason(absl::FailedPreconditionError(absl::StrCat(
                     "version 0 of ", name,
                     " is the model of the command line, which has none of this name; start the "
                     "server with --model ",
                     name, "=DIR")),
                 "BASE_MODEL_GONE"),
      "MODEL_VERSION", key);
}

void ModelVersions::Lead(const std::string& alias, const std::string& key, bool keep_loaded) {
  const std::string before = registry_.KeyOf(alias);
  registry_.SetAlias(alias, key);
  if (before != key && !keep_loaded) registry_.Retire(before);
}

absl::StatusOr<ModelVersion> ModelVersions::LoadAndLead(const std::string& name, int64_t version,
                                                        const std::string& alias,
                                                        StoredName& stored, NameRecord next,
                                                        bool keep_loaded) {
  ASSIGN_OR_RETURN(const ModelVersion described, Describe(name, version, next));
  ModelSource source;
  source.name = name;
  // The base may have been kept loaded under its own name.
  if (version > 0 || !registry_.Keep(name)) {
    ASSIGN_OR_RETURN(source, SourceOf(name, version, next));
  }
  RETURN_IF_ERROR(LoadAndCommit(name, source, stored, std::move(next)).status());
  Lead(alias, source.name, keep_loaded);
  return described;
}

absl::StatusOr<ModelVersion> ModelVersions::RollBack(const std::string& name,
                                                     std::optional<int64_t> version,
                                                     bool keep_loaded, const std::string& etag) {
  RETURN_IF_ERROR(CheckModelName(name));
  if (version) RETURN_IF_ERROR(CheckVersion(*version, 0));
  RETURN_IF_ERROR(CheckEnabled());
  const Change change(*this, name);
  ASSIGN_OR_RETURN(StoredName stored, ReadName(name, etag));
  if (!stored.record.serving()) return NothingPromoted(name);
  if (!version) {
    ASSIGN_OR_RETURN(version, EarlierVersion(name, stored.record));
  }
  NameRecord next = stored.record;
  next.Serve(*version, std::chrono::system_clock::now());
  return LoadAndLead(name, *version, name, stored, std::move(next), keep_loaded);
}

absl::StatusOr<int64_t> ModelVersions::EarlierVersion(const std::string& name,
                                                      const NameRecord& record) const {
  for (auto served = record.history.rbegin(); served != record.history.rend(); ++served) {
    if (served->version == record.serving()) continue;
    if (served->version == 0) return 0;
    const absl::Status status = ReadVersion(name, served->version).status();
    if (status.ok()) return served->version;
    if (!absl::IsNotFound(status)) return status;
  }
  return WithPrecondition(WithReason(absl::FailedPreconditionError(
                                         absl::StrCat("no version of ", name, " served before ",
                                                      *record.serving(), " and still exists")),
                                     "NO_EARLIER_VERSION"),
                          "MODEL_VERSION", name);
}

absl::StatusOr<ModelVersion> ModelVersions::SetAlias(const std::string& alias, int64_t version,
                                                     const std::string& etag) {
  ASSIGN_OR_RETURN(const ModelName parsed, ParseAlias(alias));
  RETURN_IF_ERROR(CheckVersion(version, 1));
  RETURN_IF_ERROR(CheckEnabled());
  const Change change(*this, parsed.name);
  ASSIGN_OR_RETURN(StoredName stored, ReadName(parsed.name, etag));
  RETURN_IF_ERROR(CheckRoomForAlias(parsed.name, stored.record, parsed.tag));
  NameRecord next = stored.record;
  next.aliases[parsed.tag] = version;
  return LoadAndLead(parsed.name, version, alias, stored, std::move(next), /*keep_loaded=*/false);
}

absl::Status ModelVersions::CheckRoomForAlias(const std::string& name, const NameRecord& record,
                                              const std::string& alias) {
  if (alias.empty() || record.aliases.contains(alias)) return absl::OkStatus();
  if (record.aliases.size() < kMaxAliasesOfName) return absl::OkStatus();
  return TooMany("aliases", name, kMaxAliasesOfName);
}

absl::Status ModelVersions::DeleteAlias(const std::string& alias, const std::string& etag) {
  ASSIGN_OR_RETURN(const ModelName parsed, ParseAlias(alias));
  RETURN_IF_ERROR(CheckEnabled());
  const Change change(*this, parsed.name);
  ASSIGN_OR_RETURN(StoredName stored, ReadName(parsed.name, etag));
  NameRecord next = stored.record;
  if (next.aliases.erase(parsed.tag) == 0) {
    return WithResource(
        WithReason(absl::NotFoundError(absl::StrCat("no alias ", engine::Quoted(alias))),
                   "ALIAS_NOT_FOUND"),
        "model alias", alias);
  }
  RETURN_IF_ERROR(Commit(parsed.name, stored, std::move(next)).status());
  const std::string key = registry_.KeyOf(alias);
  registry_.RemoveAlias(alias);
  registry_.Retire(key);
  return absl::OkStatus();
}

absl::Status ModelVersions::CheckUnused(const std::string& key, int64_t version,
                                        const NameRecord& name, const VersionRecord& record) const {
  std::string use;
  if (name.Uses(version)) use = "serves or has an alias, expected a version without either";
  if (use.empty() && options_.job_with) {
    const std::string job = options_.job_with(key, options_.directory + "/" + record.directory);
    if (!job.empty()) use = absl::StrCat("is the model of job ", job, ", expected one that ended");
  }
  if (use.empty()) return absl::OkStatus();
  return WithPrecondition(
      WithReason(absl::FailedPreconditionError(absl::StrCat(key, " ", use)), "VERSION_IN_USE"),
      "MODEL_VERSION", key);
}

absl::Status ModelVersions::Delete(const std::string& key, const std::string& etag) {
  ASSIGN_OR_RETURN(const ModelName parsed, ParseModelName(key));
  if (!parsed.version()) {
    return engine::InvalidField("name", engine::Quoted(key), "a name with the number of a version");
  }
  RETURN_IF_ERROR(CheckEnabled());
  const std::string& name = parsed.name;
  const int64_t version = *parsed.version();
  const Change change(*this, name);
  ASSIGN_OR_RETURN(StoredName stored, ReadName(name, etag));
  ASSIGN_OR_RETURN(const Version found, ReadVersion(name, version));
  RETURN_IF_ERROR(CheckUnused(key, version, stored.record, found.record));
  RETURN_IF_ERROR(
      Commit(name, stored, stored.record, {DeleteRecord{Collection::kModelVersions, key}})
          .status());
  registry_.Retire(key);
  // What is left is removed at the next start.
  engine::RemoveDirectory(options_.directory + "/" + found.record.directory).IgnoreError();
  return absl::OkStatus();
}

bool ModelVersions::Holds(const std::string& directory) const {
  return engine::ParentOf(directory) == options_.directory;
}

absl::StatusOr<VersionList> ModelVersions::List(const std::string& name) const {
  RETURN_IF_ERROR(CheckModelName(name));
  ASSIGN_OR_RETURN(const StoredName stored, ReadName(name));
  if (stored.revision == 0) return NothingPromoted(name);
  VersionList list{
      .versions = {}, .history = stored.record.history, .etag = EtagOf(stored.revision)};
  const auto is_base = [](const Served& served) { return served.version == 0; };
  if (std::ranges::any_of(list.history, is_base)) {
    list.versions.push_back(DescribeBase(name, stored.record));
  }
  const absl::StatusOr<std::vector<Record>> records =
      store_->Children(Collection::kModelVersions, name);
  if (!records.ok()) return StorageError(records.status(), kNotRead);
  for (const Record& record : *records) {
    const absl::StatusOr<VersionRecord> version = ParseVersionRecord(record.value);
    const auto key = ParseModelName(record.key);
    if (!version.ok() || !key.ok() || !key->version()) {
      LogUnreadable(record, version.ok() ? key.status() : version.status());
      continue;
    }
    list.versions.push_back(
        server::Describe(name, *key->version(), *version, record.create_time, stored.record));
  }
  return list;
}

}  // namespace whipsnake::server
