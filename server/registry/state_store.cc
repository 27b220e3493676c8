#include "server/registry/state_store.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "engine/base/exceptions.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/generate/generation_parameters.h"
#include "engine/generate/state_file.h"
#include "server/disk_errors.h"
#include "server/errors.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr std::string_view kExtension = ".state";
constexpr std::chrono::seconds kExpiryCheck{30};
constexpr int kExpiredPerCall = 64;
constexpr size_t kNameBytes = 16;  // of the handle's digest

std::string NewHandle() {
  std::random_device device;  // the system's source: cannot be predicted from earlier handles
  std::string handle = "st-";
  for (int i = 0; i < 4; ++i) {
    char digits[9];
    std::snprintf(digits, sizeof(digits), "%08" PRIx32, static_cast<uint32_t>(device()));
    handle += digits;
  }
  return handle;
}

bool IsHexadecimal(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == text.npos;
}

// Whether `text` is a handle. An older version named files by their handles.
bool IsHandle(std::string_view text) {
  return text.starts_with("st-") && IsHexadecimal(text.substr(3), 2 * kNameBytes);
}

std::string NameOf(std::string_view handle) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest = {};
  unsigned int bytes = 0;
  EVP_Digest(handle.data(), handle.size(), digest.data(), &bytes, EVP_sha256(), nullptr);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), kNameBytes));
}

absl::Status NotFound(std::string_view handle) {
  return WithResource(
      WithReason(absl::NotFoundError(absl::StrCat("no state ", engine::Quoted(handle),
                                                  ": it is unknown, expired or deleted")),
                 "STATE_NOT_FOUND"),
      "state", handle);
}

absl::Status WrongModel(const StateInfo& info, std::string_view digest) {
  return WithPrecondition(
      WithReason(
          absl::FailedPreconditionError(absl::StrCat(
              "state ", info.handle, " was made by ", engine::Quoted(info.model), " with digest ",
              info.digest, "; digest ", engine::ToAbsl(digest), " seen, which cannot continue it")),
          "STATE_OF_ANOTHER_MODEL"),
      "MODEL_DIGEST", info.handle);
}

absl::Status NoRoom(std::string_view what, int64_t seen, int64_t limit) {
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat("no room for another state: it would make ", seen,
                                                " ", engine::ToAbsl(what), " (limit ", limit,
                                                "); delete states, or let them expire")),
      "STATES_FULL");
}

int64_t BytesOf(int64_t tokens, int64_t state_bytes) {
  return tokens * static_cast<int64_t>(sizeof(int32_t)) + state_bytes;
}

// Returns the sum, or the largest time if it would overflow.
system_clock::time_point Later(system_clock::time_point time, milliseconds by) {
  return by < system_clock::time_point::max() - time ? time + by : system_clock::time_point::max();
}

void SetAside(const std::string& path, const absl::Status& why) {
  std::error_code error;
  fs::rename(path, path + ".corrupt", error);
  LogDiskError(error ? "damaged state file could not be set aside" : "damaged state file set aside",
               why, {{"file", path + (error ? "" : ".corrupt")}});
}

}  // namespace

// Reserves room for a new state. The room is released unless the state is committed.
class StateStore::PendingState {
 public:
  PendingState(StateStore* store, StateInfo info) : store_(*store), info_(std::move(info)) {}
  PendingState(const PendingState&) = delete;
  PendingState& operator=(const PendingState&) = delete;
  ~PendingState() {
    if (!counted_) return;
    engine::MutexLock lock(store_.mutex_);
    store_.Count(info_, -1);
  }

  // Includes the handle.
  const StateInfo& info() const { return info_; }

  // To be called once the state has been counted.
  void MarkCounted() { counted_ = true; }

  // Turns the reservation into an entry. `serialized` is as in Entry.
  void Commit(std::shared_ptr<const SerializedState> serialized) {
    engine::MutexLock lock(store_.mutex_);
    store_.Insert(info_, std::move(serialized));
    counted_ = false;
  }

 private:
  StateStore& store_;
  const StateInfo info_;
  bool counted_ = false;
};

StateStore::StateStore(StateStoreOptions options, engine::Ledger* ledger)
    : options_(std::move(options)),
      ledger_(*ledger),
      queue_([this] { Maintain(); }, kExpiryCheck) {}

void StateStore::Maintain() {
  engine::MutexLock lock(mutex_);
  EraseExpired();
}

std::string StateStore::PathOf(const std::string& name) const {
  return (fs::path(options_.directory) / (name + std::string(kExtension))).string();
}

absl::Status StateStore::Open() {
  if (options_.directory.empty()) return absl::OkStatus();
  // Read all names first, because some files are renamed.
  std::vector<std::string> files;
  std::error_code error;
  fs::directory_iterator entry(options_.directory, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    files.push_back(entry->path().filename().string());
  }
  if (error) return engine::FileError(error.value(), options_.directory);
  for (const std::string& file : files) RecoverFile(file);
  engine::MutexLock lock(mutex_);
  while (EraseExpired()) continue;
  return absl::OkStatus();
}

void StateStore::RecoverFile(const std::string& file) {
  const fs::path found = fs::path(options_.directory) / file;
  std::error_code error;
  if (file.find(std::string(kExtension) + ".tmp-") != file.npos) {  // left by a killed process
    fs::remove(found, error);
    if (!error) return Log(LogLevel::kInfo, "incomplete state file removed", {{"file", file}});
    return LogDiskError("incomplete state file could not be removed",
                        engine::FileError(error.value(), found.string()));
  }
  std::string name = found.stem().string();
  const bool is_handle = IsHandle(name);
  const bool is_name = IsHexadecimal(name, 2 * kNameBytes);
  if (found.extension() != kExtension || !(is_handle || is_name)) return;
  if (is_handle) name = NameOf(name);
  const std::string path = PathOf(name);
  if (is_handle) fs::rename(found, path, error);
  if (!error) fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write, error);
  const auto header = engine::ReadStateHeader(path);
  if (absl::IsDataLoss(header.status())) return SetAside(path, header.status());
  if (error || !header.ok()) {
    return LogDiskError("state file ignored",
                        error ? engine::FileError(error.value(), path) : header.status(),
                        {{"file", path}});
  }
  StateInfo info{
      .handle = "",
      .name = name,
      .model = header->model,
      .digest = header->digest,
      .tokens = header->tokens,
      .position = header->position,
      .bytes = BytesOf(header->tokens, header->state_bytes),
      .created = header->created,
      .expires = std::min(header->expires, Later(options_.now(), options_.max_time_to_live)),
      .on_disk = true};
  engine::MutexLock lock(mutex_);
  if (entries_.contains(name)) return;  // an older version stored it under its handle too
  Insert(info, nullptr);
  Count(info, +1);
}

absl::Status StateStore::Validate(const StateRetention& retention) const {
  const milliseconds time = retention.time_to_live.value_or(options_.default_time_to_live);
  if (time <= milliseconds(0) || time > options_.max_time_to_live) {
    const auto seconds = [](milliseconds value) { return absl::StrCat(value.count() / 1000.0); };
    return engine::InvalidField(
        "time_to_live", seconds(time) + " seconds",
        absl::StrCat("above 0, at most ", seconds(options_.max_time_to_live), " seconds"));
  }
  if (retention.on_disk.value_or(false) && options_.directory.empty()) {
    return engine::WithContext(NoDataDirectory(), "on_disk");
  }
  return absl::OkStatus();
}

absl::StatusOr<StateInfo> StateStore::Describe(const StateInfo& of,
                                               const StateRetention& retention) const {
  RETURN_IF_ERROR(Validate(retention));
  // Use whole milliseconds, as files do.
  const auto now = std::chrono::floor<milliseconds>(options_.now());
  StateInfo info = of;
  info.handle = NewHandle();
  info.name = NameOf(info.handle);
  info.created = now;
  info.expires = std::chrono::floor<milliseconds>(
      Later(now, retention.time_to_live.value_or(options_.default_time_to_live)));
  info.on_disk = retention.on_disk.value_or(of.on_disk);
  return info;
}

// Refuses before anything is allocated or changed.
absl::StatusOr<std::shared_ptr<StateStore::PendingState>> StateStore::Admit(
    const StateInfo& of, const StateRetention& retention, bool reads_file,
    const std::optional<std::string>& client) {
  ASSIGN_OR_RETURN(StateInfo info, Describe(of, retention));
  const bool with_files = reads_file || info.on_disk;
  auto pending = std::make_shared<PendingState>(this, std::move(info));
  engine::MutexLock lock(mutex_);
  if (with_files && client) RETURN_IF_ERROR(queue_.CheckRoom(*client));
  RETURN_IF_ERROR(EnsureRoom(pending->info()));
  Count(pending->info(), +1);
  pending->MarkCounted();
  return pending;
}

// A task may own a PendingState, whose destructor takes the lock. So nothing that can throw is
// done with a task and the lock held.
template <typename Result>
void StateStore::RunTask(absl::FunctionRef<absl::StatusOr<Job<Result>>()> begin,
                         std::function<void(Result)> done) {
  std::list<DiskQueue::Task> task;
  Result result = engine::CatchExceptions([&]() -> Result {
    ASSIGN_OR_RETURN(Job<Result> job, begin());
    if (!job.with_files) return job.work();
    auto run = [work = std::move(job.work), done](bool refuse) mutable {
      Result outcome =
          engine::CatchExceptions([&]() -> Result { return refuse ? DrainingError() : work(); });
      work = nullptr;  // free the state before reporting completion
      done(std::move(outcome));
    };
    task.push_back({std::move(job.client), std::move(run)});
    return Result();
  });
  if (task.empty()) return done(std::move(result));
  queue_.Push(task);
}

absl::Status StateStore::EnsureRoom(const StateInfo& info) {
  bool more = EraseExpired();
  absl::Status room = CheckRoom(info);
  while (!room.ok() && more) {
    more = EraseExpired();
    room = CheckRoom(info);
  }
  return room;
}

absl::Status StateStore::CheckRoom(const StateInfo& info) const {
  if (states_ + 1 > options_.max_states) return NoRoom("states", states_ + 1, options_.max_states);
  const int64_t bytes = (info.on_disk ? disk_bytes_ : memory_bytes_) + info.bytes;
  const int64_t limit = info.on_disk ? options_.max_disk_bytes : options_.max_memory_bytes;
  if (bytes > limit) return NoRoom(info.on_disk ? "bytes on disk" : "bytes", bytes, limit);
  return absl::OkStatus();
}

void StateStore::Count(const StateInfo& info, int sign) {
  states_ += sign;
  (info.on_disk ? disk_bytes_ : memory_bytes_) += sign * info.bytes;
}

void StateStore::Insert(StateInfo info, std::shared_ptr<const SerializedState> serialized) {
  info.handle.clear();
  Expiries expiry{{info.expires, info.name}};
  Entries entry;
  entry.emplace(info.name, Entry{info, std::move(serialized)});
  entries_.merge(entry);  // from here on nothing throws
  by_expiry_.merge(expiry);
}

bool StateStore::Erase(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return false;
  by_expiry_.erase({found->second.info.expires, name});  // the only line that can throw comes first
  Count(found->second.info, -1);
  entries_.erase(found);
  return true;
}

StateStore::Entries::node_type StateStore::ExtractEarliest() {
  const auto first = by_expiry_.begin();
  auto entry = entries_.extract(first->second);
  by_expiry_.erase(first);
  Count(entry.mapped().info, -1);
  return entry;
}

bool StateStore::EraseExpired() {
  const Time now = options_.now();
  const auto is_left = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return !by_expiry_.empty() && by_expiry_.begin()->first <= now;
  };
  if (!is_left()) return false;
  const auto expired = std::make_shared<std::vector<Entries::node_type>>();
  expired->reserve(kExpiredPerCall);
  std::list<DiskQueue::Task> task;
  task.push_back({std::nullopt, [this, expired](bool) {
                    for (const Entries::node_type& entry : *expired) {
                      const StateInfo& info = entry.mapped().info;
                      // A failure is logged, and a file that is left is found at the next start.
                      if (info.on_disk) RemoveFile(info).IgnoreError();
                    }
                  }});
  while (is_left() && std::ssize(*expired) < kExpiredPerCall) expired->push_back(ExtractEarliest());
  queue_.Push(task);
  return is_left();
}

void StateStore::Save(const engine::SavedState& state, const std::string& model,
                      const std::string& digest, const StateRetention& retention, Done done) {
  RunTask<absl::StatusOr<StateInfo>>([&] { return BeginSave(state, model, digest, retention); },
                                     std::move(done));
}

StateStore::Saving StateStore::BeginSave(const engine::SavedState& state, const std::string& model,
                                         const std::string& digest,
                                         const StateRetention& retention) {
  const int64_t tokens = std::ssize(state.tokens);
  ASSIGN_OR_RETURN(auto pending, Admit({.handle = "",
                                        .name = "",
                                        .model = model,
                                        .digest = digest,
                                        .tokens = tokens,
                                        .position = state.state->position(),
                                        .bytes = BytesOf(tokens, state.state->saved_bytes()),
                                        .created = {},
                                        .expires = {}},
                                       retention, /*reads_file=*/false, /*client=*/std::nullopt));
  const bool on_disk = pending->info().on_disk;
  ASSIGN_OR_RETURN(auto serialized, Copy(state, pending->info()));
  return Job<absl::StatusOr<StateInfo>>{
      std::nullopt, on_disk,
      [this, pending = std::move(pending), serialized = std::move(serialized)] {
        return Store(*pending, serialized);
      }};
}

absl::StatusOr<std::shared_ptr<const StateStore::SerializedState>> StateStore::Copy(
    const engine::SavedState& state, const StateInfo& info) {
  auto serialized = std::make_shared<SerializedState>();
  ASSIGN_OR_RETURN(serialized->booked,
                   ledger_.Reserve(info.bytes, engine::Purpose::kStates, "a saved state"));
  const int64_t state_bytes = state.state->saved_bytes();
  serialized->file.tokens = state.tokens;
  serialized->file.state.resize(state_bytes);
  RETURN_IF_ERROR(state.state->Save(serialized->file.state));
  serialized->file.header = {.model = info.model,
                             .digest = info.digest,
                             .created = {},
                             .expires = {},
                             .tokens = info.tokens,
                             .position = info.position,
                             .state_bytes = state_bytes};
  return serialized;
}

absl::StatusOr<StateInfo> StateStore::Store(PendingState& pending,
                                            std::shared_ptr<const SerializedState> serialized) {
  const StateInfo& info = pending.info();
  if (info.on_disk) RETURN_IF_ERROR(WriteFile(info, serialized->file));
  pending.Commit(info.on_disk ? nullptr : std::move(serialized));
  return info;
}

absl::Status StateStore::WriteFile(const StateInfo& info, const engine::StateFile& file) const {
  engine::StateHeader header = file.header;
  header.created = info.created;
  header.expires = info.expires;
  return StorageError(engine::WriteStateFile(PathOf(info.name), header, file.tokens, file.state),
                      "the state could not be written");
}

// A missing file is not an error. A file that could not be removed is found again at the next
// start.
absl::Status StateStore::RemoveFile(const StateInfo& info) const {
  std::error_code error;
  fs::remove(PathOf(info.name), error);
  if (!error) return absl::OkStatus();
  return StorageError(engine::FileError(error.value(), PathOf(info.name)),
                      "the state's file could not be removed");
}

void StateStore::Fork(std::string_view handle, const StateRetention& retention,
                      const std::string& client, Done done) {
  RunTask<absl::StatusOr<StateInfo>>([&] { return BeginFork(handle, retention, client); },
                                     std::move(done));
}

StateStore::Saving StateStore::BeginFork(std::string_view handle, const StateRetention& retention,
                                         const std::string& client) {
  Entry entry;
  {
    engine::MutexLock lock(mutex_);
    if (queue_.closed()) return DrainingError();
    ASSIGN_OR_RETURN(entry, Find(handle));
  }
  const bool reads_file = entry.serialized == nullptr;
  ASSIGN_OR_RETURN(auto pending, Admit(entry.info, retention, reads_file, client));
  const bool with_files = reads_file || pending->info().on_disk;
  auto fork = [this, from = std::move(entry),
               pending = std::move(pending)]() -> absl::StatusOr<StateInfo> {
    std::shared_ptr<const SerializedState> serialized = from.serialized;
    if (serialized == nullptr) {
      ASSIGN_OR_RETURN(serialized, ReadFile(from.info));
    }
    return Store(*pending, std::move(serialized));
  };
  return Job<absl::StatusOr<StateInfo>>{client, with_files, std::move(fork)};
}

absl::StatusOr<std::shared_ptr<const StateStore::SerializedState>> StateStore::ReadFile(
    const StateInfo& info) {
  auto serialized = std::make_shared<SerializedState>();
  ASSIGN_OR_RETURN(serialized->booked,
                   ledger_.Reserve(info.bytes, engine::Purpose::kStates, "a saved state"));
  const std::string path = PathOf(info.name);
  auto file = engine::ReadStateFile(path);
  if (absl::IsDataLoss(file.status())) return SetAsideDamaged(info, file.status());
  if (absl::IsNotFound(file.status())) return FileMissing(info, file.status());
  if (!file.ok()) return StorageError(file.status(), "the state could not be read");
  if (file->header.digest != info.digest ||
      BytesOf(file->header.tokens, file->header.state_bytes) != info.bytes) {
    return SetAsideDamaged(info, engine::WithPath(absl::DataLossError("another state seen"), path));
  }
  serialized->file = *std::move(file);
  return serialized;
}

absl::Status StateStore::FileMissing(const StateInfo& info, const absl::Status& why) {
  {
    engine::MutexLock lock(mutex_);
    if (!entries_.contains(info.name)) return NotFound(info.handle);  // deleted in the meantime
  }
  return WithReason(engine::WithCode(StorageError(why, "the state's file is missing"),
                                     absl::StatusCode::kDataLoss),
                    "STATE_FILE_GONE");
}

absl::Status StateStore::SetAsideDamaged(const StateInfo& info, const absl::Status& why) {
  if (info.on_disk) SetAside(PathOf(info.name), why);
  engine::MutexLock lock(mutex_);
  Erase(info.name);
  return WithReason(absl::DataLossError(absl::StrCat("state ", engine::Quoted(info.handle),
                                                     ": its file is damaged and was set aside")),
                    "STATE_DAMAGED");
}

absl::StatusOr<StateStore::Entry> StateStore::Find(std::string_view handle) const {
  const auto found = entries_.find(NameOf(handle));
  if (found == entries_.end() || found->second.info.expires <= options_.now()) {
    return NotFound(handle);
  }
  Entry entry = found->second;
  entry.info.handle = handle;
  return entry;
}

absl::StatusOr<StateInfo> StateStore::Get(std::string_view handle) {
  engine::MutexLock lock(mutex_);
  EraseExpired();
  ASSIGN_OR_RETURN(const Entry entry, Find(handle));
  return entry.info;
}

void StateStore::Delete(std::string_view handle, const std::string& client,
                        std::function<void(absl::Status)> done) {
  RunTask<absl::Status>([&] { return BeginDelete(handle, client); }, std::move(done));
}

StateStore::Deleting StateStore::BeginDelete(std::string_view handle, const std::string& client) {
  Entry entry;
  {
    engine::MutexLock lock(mutex_);
    if (queue_.closed()) return DrainingError();
    EraseExpired();
    ASSIGN_OR_RETURN(entry, Find(handle));
    if (entry.info.on_disk) RETURN_IF_ERROR(queue_.CheckRoom(client));
  }
  return Job<absl::Status>{client, entry.info.on_disk,
                           [this, info = entry.info] { return RemoveFileAndEntry(info); }};
}

absl::Status StateStore::RemoveFileAndEntry(const StateInfo& info) {
  if (info.on_disk) RETURN_IF_ERROR(RemoveFile(info));
  {
    engine::MutexLock lock(mutex_);
    if (!Erase(info.name)) return NotFound(info.handle);  // already deleted
  }
  if (!info.on_disk) return absl::OkStatus();
  return StorageError(engine::SyncDirectory(options_.directory),
                      "the state is deleted, but may reappear after a restart of the server");
}

void StateStore::Close() { queue_.Close(); }

std::vector<StateInfo> StateStore::List(std::string_view model) {
  engine::MutexLock lock(mutex_);
  EraseExpired();
  const Time now = options_.now();
  std::vector<StateInfo> infos;
  for (const auto& [name, entry] : entries_) {
    const bool wanted = model.empty() || entry.info.model == model;
    if (wanted && entry.info.expires > now) infos.push_back(entry.info);
  }
  return infos;
}

absl::StatusOr<std::shared_ptr<const engine::SavedState>> StateStore::Load(
    std::string_view handle, engine::Model& model, std::string_view digest) {
  absl::StatusOr<Entry> entry;
  {
    engine::MutexLock lock(mutex_);
    entry = Find(handle);
  }
  RETURN_IF_ERROR(entry.status());
  const StateInfo& info = entry->info;
  std::shared_ptr<const SerializedState> serialized = std::move(entry->serialized);
  if (info.digest != digest) return WrongModel(info, digest);
  if (serialized == nullptr) {
    ASSIGN_OR_RETURN(serialized, ReadFile(info));
  }
  const engine::StateFile& file = serialized->file;
  // A token or size that the model does not have is treated like a wrong checksum.
  const absl::Status tokens =
      engine::ValidateTokenIds("tokens", file.tokens, model.info().vocab_size);
  if (!tokens.ok()) return SetAsideDamaged(info, engine::WithPath(tokens, PathOf(info.name)));
  auto state = model.RestoreState(file.header.position, file.state);
  if (absl::IsInvalidArgument(state.status())) return SetAsideDamaged(info, state.status());
  if (!state.ok()) return state.status();
  return std::make_shared<const engine::SavedState>(
      engine::SavedState{file.tokens, *std::move(state)});
}

void StateStore::Flush() { queue_.Flush(); }

int64_t StateStore::memory_bytes() const {
  engine::MutexLock lock(mutex_);
  return memory_bytes_;
}

int64_t StateStore::disk_bytes() const {
  engine::MutexLock lock(mutex_);
  return disk_bytes_;
}

int64_t StateStore::states() const {
  engine::MutexLock lock(mutex_);
  return states_;
}

}  // namespace whipsnake::server
