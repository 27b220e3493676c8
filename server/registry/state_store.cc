#include "server/registry/state_store.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <future>
#include <random>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "engine/base/status.h"
#include "engine/checkpoint/files.h"
#include "engine/generate/generator.h"
#include "engine/generate/state_file.h"
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
constexpr size_t kNameBytes = 16;  // of a digest

std::string NewHandle() {
  std::random_device device;  // the system's: not to be guessed from earlier ones
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

// What an older version called the file of a state: it names those by their handles.
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
  return WithReason(absl::ResourceExhaustedError(absl::StrCat(
                        "no room for one more state: ", seen, " ", engine::ToAbsl(what),
                        " with it, of at most ", limit, "; delete some, or let them expire")),
                    "STATES_FULL");
}

int64_t BytesOf(int64_t tokens, int64_t state_bytes) {
  return tokens * static_cast<int64_t>(sizeof(int32_t)) + state_bytes;
}

// The sum, or the last time that there is.
system_clock::time_point Later(system_clock::time_point time, milliseconds by) {
  return by < system_clock::time_point::max() - time ? time + by : system_clock::time_point::max();
}

void SetAside(const std::string& path, const absl::Status& why) {
  std::error_code error;
  fs::rename(path, path + ".corrupt", error);
  Log(LogLevel::kError, error ? "damaged state could not be set aside" : "saved state set aside",
      {{"file", path + (error ? "" : ".corrupt")}, {"error", std::string(why.message())}});
}

}  // namespace

StateStore::StateStore(StateStoreOptions options, engine::Ledger* ledger)
    : options_(std::move(options)), ledger_(*ledger) {
  worker_ = std::thread([this] { Work(); });
}

StateStore::~StateStore() {
  {
    engine::MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  worker_.join();
}

std::string StateStore::PathOf(const std::string& name) const {
  return (fs::path(options_.directory) / (name + std::string(kExtension))).string();
}

absl::Status StateStore::Open() {
  if (options_.directory.empty()) return absl::OkStatus();
  // All names first: some files are renamed.
  std::vector<std::string> files;
  std::error_code error;
  fs::directory_iterator entry(options_.directory, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    files.push_back(entry->path().filename().string());
  }
  if (error) return engine::FileError(error.value(), options_.directory);
  for (const std::string& file : files) FindFile(file);
  engine::MutexLock lock(mutex_);
  while (ForgetExpired()) continue;
  return absl::OkStatus();
}

void StateStore::FindFile(const std::string& file) {
  const fs::path found = fs::path(options_.directory) / file;
  std::error_code error;
  if (file.find(std::string(kExtension) + ".tmp-") != file.npos) {  // of what was killed
    fs::remove(found, error);
    return Log(LogLevel::kInfo,
               error ? "part of a state could not be removed" : "part of a state removed",
               {{"file", found.string()}});
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
    Log(LogLevel::kError, "saved state ignored",
        {{"file", path},
         {"error", error ? error.message() : std::string(header.status().message())}});
    return;
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
  if (entries_.contains(name)) return;  // under its handle too, by an older version
  Count(info, +1);
  Insert(std::move(info), nullptr);
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
    return WithPrecondition(
        WithReason(absl::FailedPreconditionError(
                       "on_disk: the server keeps no files; it was started without --data"),
                   "NO_DATA_DIRECTORY"),
        "DATA_DIRECTORY", "--data");
  }
  return absl::OkStatus();
}

absl::StatusOr<StateInfo> StateStore::Describe(const engine::StateFile& file,
                                               const StateRetention& retention) const {
  RETURN_IF_ERROR(Validate(retention));
  // Files have whole milliseconds: so has what is said of them.
  const auto now = std::chrono::floor<milliseconds>(options_.now());
  const engine::StateHeader& header = file.header;
  const std::string handle = NewHandle();
  return StateInfo{.handle = handle,
                   .name = NameOf(handle),
                   .model = header.model,
                   .digest = header.digest,
                   .tokens = header.tokens,
                   .position = header.position,
                   .bytes = BytesOf(header.tokens, header.state_bytes),
                   .created = now,
                   .expires = std::chrono::floor<milliseconds>(
                       Later(now, retention.time_to_live.value_or(options_.default_time_to_live))),
                   .on_disk = retention.on_disk.value_or(false)};
}

void StateStore::Queue(std::function<void()> task) {
  tasks_.push_back(std::move(task));
  wake_.NotifyOne();
}

absl::Status StateStore::Admit(const StateInfo& info) {
  bool more = ForgetExpired();
  absl::Status room = CheckRoom(info);
  while (!room.ok() && more) {
    more = ForgetExpired();
    room = CheckRoom(info);
  }
  if (room.ok()) Count(info, +1);
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

void StateStore::Insert(StateInfo info, std::shared_ptr<const Held> held) {
  info.handle.clear();
  by_expiry_.emplace(info.expires, info.name);
  entries_.emplace(info.name, Entry{info, std::move(held)});
}

bool StateStore::Forget(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return false;
  Count(found->second.info, -1);
  by_expiry_.erase({found->second.info.expires, name});
  entries_.erase(found);
  return true;
}

bool StateStore::ForgetExpired() {
  std::vector<Entry> expired;
  const Time now = options_.now();
  while (!by_expiry_.empty() && by_expiry_.begin()->first <= now) {
    if (expired.size() == kExpiredPerCall) break;
    const std::string name = by_expiry_.begin()->second;
    expired.push_back(entries_.at(name));
    Forget(name);
  }
  if (!expired.empty()) {
    Queue([this, expired = std::move(expired)] {
      for (const Entry& entry : expired) {
        // A failure is logged, and what is left is found at the next start.
        if (entry.info.on_disk) Remove(entry.info).IgnoreError();
      }
    });
  }
  return !by_expiry_.empty() && by_expiry_.begin()->first <= now;
}

void StateStore::Save(const engine::SavedState& state, const std::string& model,
                      const std::string& digest, const StateRetention& retention, Done done) {
  const int64_t bytes = state.state->saved_bytes();
  auto booked = ledger_.Reserve(BytesOf(std::ssize(state.tokens), bytes), engine::Purpose::kStates,
                                "a saved state");
  if (!booked.ok()) return done(booked.status());
  auto held = std::make_shared<Held>();
  held->booked = *std::move(booked);
  held->file.tokens = state.tokens;
  held->file.state.resize(bytes);
  state.state->Save(held->file.state);
  held->file.header = {.model = model,
                       .digest = digest,
                       .created = {},
                       .expires = {},
                       .tokens = std::ssize(state.tokens),
                       .position = state.state->position(),
                       .state_bytes = bytes};
  Keep(std::move(held), retention, std::move(done));
}

void StateStore::Keep(std::shared_ptr<const Held> held, const StateRetention& retention,
                      Done done) {
  const absl::StatusOr<StateInfo> info = Describe(held->file, retention);
  if (!info.ok()) return done(info.status());
  absl::Status status;
  {
    engine::MutexLock lock(mutex_);
    status = Admit(*info);
    if (status.ok() && info->on_disk) {
      return Queue([this, held = std::move(held), info = *info, done]() mutable {
        Write(std::move(held), info, done);
      });
    }
    if (status.ok()) Insert(*info, std::move(held));
  }
  if (status.ok()) return done(info);
  done(status);
}

void StateStore::Write(std::shared_ptr<const Held> held, const StateInfo& info, const Done& done) {
  engine::StateHeader header = held->file.header;
  header.created = info.created;
  header.expires = info.expires;
  const absl::Status status =
      engine::WriteStateFile(PathOf(info.name), header, held->file.tokens, held->file.state);
  held.reset();  // whoever is told that it is done finds its memory free
  {
    engine::MutexLock lock(mutex_);
    if (status.ok()) {
      Insert(info, nullptr);
    } else {
      Count(info, -1);
    }
  }
  if (status.ok()) return done(info);
  done(StorageError(status, "the state could not be written"));
}

// One that is gone is no error. What could not be removed is found again at the next start.
absl::Status StateStore::Remove(const StateInfo& info) const {
  std::error_code error;
  fs::remove(PathOf(info.name), error);
  if (!error) return absl::OkStatus();
  return StorageError(engine::FileError(error.value(), PathOf(info.name)),
                      "the state's file could not be removed");
}

void StateStore::Fork(std::string_view handle, const StateRetention& retention, Done done) {
  StateRetention wanted = retention;
  absl::StatusOr<Entry> entry;
  {
    engine::MutexLock lock(mutex_);
    entry = Find(handle);
    if (entry.ok()) wanted.on_disk = retention.on_disk.value_or(entry->info.on_disk);
    if (entry.ok() && entry->held == nullptr) {
      return Queue([this, info = entry->info, wanted, done] {
        auto read = Read(info);
        if (!read.ok()) return done(read.status());
        Keep(*std::move(read), wanted, done);
      });
    }
  }
  if (!entry.ok()) return done(entry.status());
  Keep(std::move(entry->held), wanted, std::move(done));
}

absl::StatusOr<std::shared_ptr<const StateStore::Held>> StateStore::Read(const StateInfo& info) {
  auto held = std::make_shared<Held>();
  ASSIGN_OR_RETURN(held->booked,
                   ledger_.Reserve(info.bytes, engine::Purpose::kStates, "a saved state"));
  const std::string path = PathOf(info.name);
  auto file = engine::ReadStateFile(path);
  if (absl::IsDataLoss(file.status())) return Damaged(info, file.status());
  if (absl::IsNotFound(file.status())) return Gone(info, file.status());
  if (!file.ok()) return StorageError(file.status(), "the state could not be read");
  if (file->header.digest != info.digest ||
      BytesOf(file->header.tokens, file->header.state_bytes) != info.bytes) {
    return Damaged(info, engine::WithPath(absl::DataLossError("another state seen"), path));
  }
  held->file = *std::move(file);
  return held;
}

absl::Status StateStore::Gone(const StateInfo& info, const absl::Status& why) {
  {
    engine::MutexLock lock(mutex_);
    if (!entries_.contains(info.name)) return NotFound(info.handle);  // deleted meanwhile
  }
  return WithReason(
      engine::WithCode(StorageError(why, "the state's file is gone"), absl::StatusCode::kDataLoss),
      "STATE_FILE_GONE");
}

absl::Status StateStore::Damaged(const StateInfo& info, const absl::Status& why) {
  if (info.on_disk) SetAside(PathOf(info.name), why);
  engine::MutexLock lock(mutex_);
  Forget(info.name);
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
  ForgetExpired();
  ASSIGN_OR_RETURN(const Entry entry, Find(handle));
  return entry.info;
}

void StateStore::Delete(std::string_view handle, std::function<void(absl::Status)> done) {
  absl::StatusOr<Entry> entry;
  {
    engine::MutexLock lock(mutex_);
    ForgetExpired();
    entry = Find(handle);
    if (entry.ok() && entry->info.on_disk) {
      return Queue([this, info = entry->info, done = std::move(done)] {
        absl::Status status = Remove(info);
        if (status.ok()) {
          status = StorageError(engine::SyncDirectory(options_.directory),
                                "the state's file may come back");
        }
        if (status.ok()) {
          engine::MutexLock removal(mutex_);
          if (!Forget(info.name)) status = NotFound(info.handle);  // another was quicker
        }
        done(status);
      });
    }
    if (entry.ok()) Forget(entry->info.name);
  }
  done(entry.status());
}

std::vector<StateInfo> StateStore::List(std::string_view model) {
  engine::MutexLock lock(mutex_);
  ForgetExpired();
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
  std::shared_ptr<const Held> held = std::move(entry->held);
  if (info.digest != digest) return WrongModel(info, digest);
  if (held == nullptr) {
    ASSIGN_OR_RETURN(held, Read(info));
  }
  const engine::StateFile& file = held->file;
  // Neither a token nor a size that the model lacks is better than a wrong checksum.
  const absl::Status tokens =
      engine::ValidateTokenIds("tokens", file.tokens, model.info().vocab_size);
  if (!tokens.ok()) return Damaged(info, engine::WithPath(tokens, PathOf(info.name)));
  auto state = model.RestoreState(file.header.position, file.state);
  if (absl::IsInvalidArgument(state.status())) return Damaged(info, state.status());
  if (!state.ok()) return state.status();
  return std::make_shared<const engine::SavedState>(
      engine::SavedState{file.tokens, *std::move(state)});
}

void StateStore::Work() {
  engine::MutexLock lock(mutex_);
  while (true) {
    ForgetExpired();  // a few each time, which makes a task
    if (tasks_.empty()) {
      if (stopping_) return;
      wake_.WaitUntil(mutex_, std::chrono::steady_clock::now() + kExpiryCheck);
      continue;
    }
    std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.Unlock();
    task();
    task = nullptr;  // frees what it holds
    lock.Lock();
  }
}

void StateStore::Flush() {
  std::promise<void> done;
  {
    engine::MutexLock lock(mutex_);
    Queue([&done] { done.set_value(); });
  }
  done.get_future().wait();
}

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
