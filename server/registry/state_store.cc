#include "server/registry/state_store.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "engine/base/status.h"
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

// What NewHandle makes, and so nothing that leads out of a directory.
bool IsHandle(std::string_view text) {
  return text.size() == 35 && text.starts_with("st-") &&
         text.find_first_not_of("0123456789abcdef", 3) == text.npos;
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

void SetAside(const std::string& path, const absl::Status& why) {
  std::error_code error;
  fs::rename(path, path + ".corrupt", error);
  Log(LogLevel::kError, "saved state set aside",
      {{"file", path + ".corrupt"}, {"error", std::string(why.message())}});
}

}  // namespace

StateStore::StateStore(StateStoreOptions options, engine::Ledger* ledger)
    : options_(std::move(options)), ledger_(*ledger) {
  if (!options_.directory.empty()) FindFiles();
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

std::string StateStore::PathOf(std::string_view handle) const {
  return (fs::path(options_.directory) / (std::string(handle) + std::string(kExtension))).string();
}

void StateStore::FindFiles() {
  engine::MutexLock lock(mutex_);
  std::error_code error;
  for (const fs::directory_entry& file : fs::directory_iterator(options_.directory, error)) {
    const std::string handle = file.path().stem().string();
    if (file.path().extension() != kExtension || !IsHandle(handle)) continue;
    const auto header = engine::ReadStateHeader(file.path().string());
    if (absl::IsDataLoss(header.status())) {
      SetAside(file.path().string(), header.status());
    } else if (!header.ok()) {
      Log(LogLevel::kWarning, "saved state ignored",
          {{"error", std::string(header.status().message())}});
    } else {
      StateInfo info{.handle = handle,
                     .model = header->model,
                     .digest = header->digest,
                     .tokens = header->tokens,
                     .position = header->position,
                     .bytes = BytesOf(header->tokens, header->state_bytes),
                     .created = header->created,
                     .expires = header->expires,
                     .on_disk = true};
      Count(info, +1);
      entries_.emplace(handle, Entry{std::move(info), nullptr});
    }
  }
  ForgetExpired();
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
  return StateInfo{.handle = NewHandle(),
                   .model = header.model,
                   .digest = header.digest,
                   .tokens = header.tokens,
                   .position = header.position,
                   .bytes = BytesOf(header.tokens, header.state_bytes),
                   .created = now,
                   .expires = now + retention.time_to_live.value_or(options_.default_time_to_live),
                   .on_disk = retention.on_disk.value_or(false)};
}

absl::Status StateStore::Admit(const StateInfo& info) {
  ForgetExpired();
  if (states_ + 1 > options_.max_states) return NoRoom("states", states_ + 1, options_.max_states);
  const int64_t bytes = (info.on_disk ? disk_bytes_ : memory_bytes_) + info.bytes;
  const int64_t limit = info.on_disk ? options_.max_disk_bytes : options_.max_memory_bytes;
  if (bytes > limit) return NoRoom(info.on_disk ? "bytes on disk" : "bytes", bytes, limit);
  Count(info, +1);
  return absl::OkStatus();
}

void StateStore::Count(const StateInfo& info, int sign) {
  states_ += sign;
  (info.on_disk ? disk_bytes_ : memory_bytes_) += sign * info.bytes;
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
      tasks_.push_back([this, held, info = *info, done] { Write(*held, info, done); });
      wake_.NotifyOne();
      return;
    }
    if (status.ok()) entries_.emplace(info->handle, Entry{*info, std::move(held)});
  }
  if (status.ok()) return done(info);
  done(status);
}

void StateStore::Write(const Held& held, const StateInfo& info, const Done& done) {
  engine::StateHeader header = held.file.header;
  header.created = info.created;
  header.expires = info.expires;
  const absl::Status status =
      engine::WriteStateFile(PathOf(info.handle), header, held.file.tokens, held.file.state);
  {
    engine::MutexLock lock(mutex_);
    if (status.ok()) {
      entries_.emplace(info.handle, Entry{info, nullptr});
    } else {
      Count(info, -1);
    }
  }
  if (status.ok()) return done(info);
  done(status);
}

void StateStore::Fork(std::string_view handle, const StateRetention& retention, Done done) {
  StateRetention wanted = retention;
  std::shared_ptr<const Held> held;
  absl::Status status;
  {
    engine::MutexLock lock(mutex_);
    const auto found = Find(handle);
    status = found.status();
    if (status.ok()) {
      const Entry& entry = (*found)->second;
      wanted.on_disk = retention.on_disk.value_or(entry.info.on_disk);
      held = entry.held;
      if (held == nullptr) {
        tasks_.push_back([this, handle = entry.info.handle, wanted, done] {
          auto read = Read(handle);
          if (!read.ok()) return done(read.status());
          Keep(*std::move(read), wanted, done);
        });
        wake_.NotifyOne();
        return;
      }
    }
  }
  if (!status.ok()) return done(status);
  Keep(std::move(held), wanted, std::move(done));
}

absl::StatusOr<std::shared_ptr<const StateStore::Held>> StateStore::Read(
    const std::string& handle) {
  auto held = std::make_shared<Held>();
  auto file = engine::ReadStateFile(PathOf(handle));
  if (absl::IsDataLoss(file.status())) return Damaged(handle, file.status());
  if (absl::IsNotFound(file.status())) return NotFound(handle);  // deleted meanwhile
  if (!file.ok()) return file.status();
  held->file = *std::move(file);
  const engine::StateHeader& header = held->file.header;
  ASSIGN_OR_RETURN(held->booked, ledger_.Reserve(BytesOf(header.tokens, header.state_bytes),
                                                 engine::Purpose::kStates, "a saved state"));
  return held;
}

absl::Status StateStore::Damaged(const std::string& handle, const absl::Status& why) {
  SetAside(PathOf(handle), why);
  engine::MutexLock lock(mutex_);
  if (const auto found = entries_.find(handle); found != entries_.end()) Forget(found);
  return WithReason(absl::DataLossError(
                        absl::StrCat("state ", handle, ": its file is damaged and was set aside")),
                    "STATE_DAMAGED");
}

absl::StatusOr<StateStore::Entries::iterator> StateStore::Find(std::string_view handle) {
  ForgetExpired();
  const auto found = entries_.find(handle);
  if (found == entries_.end()) return NotFound(handle);
  return found;
}

absl::StatusOr<StateInfo> StateStore::Get(std::string_view handle) {
  engine::MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const auto found, Find(handle));
  return found->second.info;
}

absl::Status StateStore::Delete(std::string_view handle) {
  engine::MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const auto found, Find(handle));
  Forget(found);
  return absl::OkStatus();
}

std::vector<StateInfo> StateStore::List(std::string_view model) {
  engine::MutexLock lock(mutex_);
  ForgetExpired();
  std::vector<StateInfo> infos;
  for (const auto& [handle, entry] : entries_) {
    if (model.empty() || entry.info.model == model) infos.push_back(entry.info);
  }
  return infos;
}

void StateStore::Forget(Entries::iterator entry) {
  Count(entry->second.info, -1);
  if (entry->second.info.on_disk) {
    std::error_code error;
    fs::remove(PathOf(entry->first), error);
  }
  entries_.erase(entry);
}

void StateStore::ForgetExpired() {
  const auto now = options_.now();
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto next = std::next(entry);
    if (entry->second.info.expires <= now) Forget(entry);
    entry = next;
  }
}

absl::StatusOr<std::shared_ptr<const engine::SavedState>> StateStore::Load(
    std::string_view handle, engine::Model& model, std::string_view digest) {
  StateInfo info;
  std::shared_ptr<const Held> held;
  {
    engine::MutexLock lock(mutex_);
    ASSIGN_OR_RETURN(const auto found, Find(handle));
    info = found->second.info;
    held = found->second.held;
  }
  if (info.digest != digest) return WrongModel(info, digest);
  if (held == nullptr) {
    ASSIGN_OR_RETURN(held, Read(info.handle));
  }
  const engine::StateFile& file = held->file;
  auto state = model.RestoreState(file.header.position, file.state);
  // A size that the model does not have is as much a damage as a wrong checksum.
  if (absl::IsInvalidArgument(state.status())) return Damaged(info.handle, state.status());
  if (!state.ok()) return state.status();
  return std::make_shared<const engine::SavedState>(
      engine::SavedState{file.tokens, *std::move(state)});
}

void StateStore::Work() {
  engine::MutexLock lock(mutex_);
  while (true) {
    if (tasks_.empty() && stopping_) return;
    if (tasks_.empty()) {
      const auto deadline = std::chrono::steady_clock::now() + kExpiryCheck;
      while (!stopping_ && tasks_.empty() && wake_.WaitUntil(mutex_, deadline)) {
      }
      ForgetExpired();
      continue;
    }
    const std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.Unlock();
    task();
    lock.Lock();
  }
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
