#include "server/registry/model_registry.h"

#include <malloc.h>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/guarded.h"
#include "server/logging.h"
#include "server/registry/model_name.h"

namespace whipsnake::server {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr std::chrono::seconds kWeightsCheck{1};

// The most model names that an error message lists.
constexpr int kNamesInMessage = 16;

absl::Status NotReady(std::string_view name, ModelState state, const absl::Status& error) {
  const std::string text = absl::StrCat("model ", engine::Quoted(name), " ");
  switch (state) {
    case ModelState::kLoading:
      return WithReason(absl::UnavailableError(text + "is still loading"), "MODEL_LOADING");
    case ModelState::kUnloading:
      return WithReason(absl::UnavailableError(text + "is being unloaded"), "MODEL_UNLOADING");
    default:
      return WithPrecondition(WithReason(absl::FailedPreconditionError(absl::StrCat(
                                             text, "has failed: ", engine::ClientMessage(error))),
                                         "MODEL_FAILED"),
                              "MODEL_STATE", name);
  }
}

// The first names of a list, for an error message.
std::string Enumerated(std::span<const std::string> names) {
  if (std::ssize(names) <= kNamesInMessage) return absl::StrJoin(names, ", ");
  return absl::StrJoin(names.first(kNamesInMessage), ", ") + " and more";
}

// Returns freed memory to the system, so that an unloaded model takes no memory.
void ReturnFreeMemory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace

std::string_view Name(ModelState state) {
  switch (state) {
    case ModelState::kLoading:
      return "loading";
    case ModelState::kReady:
      return "ready";
    case ModelState::kUnloading:
      return "unloading";
    case ModelState::kFailed:
      return "failed";
  }
  return "unknown";
}

struct ModelRegistry::Entry {
  ModelSnapshot snapshot;
  ModelName name;                         // the key's parts
  std::optional<ModelSnapshot> replaced;  // a FAILED model, until the load begins
  bool load_begun = false;
  int64_t handles = 0;
  bool freeing = false;  // Free is running, without the lock
  bool retired = false;  // the watcher unloads it
  // Declared above `parts`, because the generator reports to it. Null for a client's model that
  // failed to load.
  std::unique_ptr<ModelMetrics> metrics;
  std::optional<ModelParts> parts;  // while READY or UNLOADING, or while FAILED but in use

  const std::string& key() const { return snapshot.source.name; }
  ModelState state() const { return snapshot.state; }
  bool in_use() const { return freeing || parts.has_value(); }
  // A thread is loading or unloading it and will change its state or remove it.
  bool changing() const {
    return freeing || (state() == ModelState::kLoading && load_begun) ||
           (state() == ModelState::kUnloading && !retired);
  }
};

ModelRegistry::ModelRegistry(ModelLoader loader, Metrics& metrics, Listener listener)
    : loader_(std::move(loader)), metrics_(metrics), listener_(std::move(listener)) {
  watcher_ = std::thread([this] { WatchLoop(); });
}

ModelRegistry::~ModelRegistry() {
  {
    engine::MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  watcher_.join();
  for (auto& [name, entry] : entries_) {
    if (entry->metrics != nullptr) entry->metrics->Detach();
  }
}

absl::Status ModelRegistry::Register(const ModelSource& source) {
  auto entry = std::make_unique<Entry>();
  ASSIGN_OR_RETURN(entry->name, ParseModelName(source.name));
  if (!entry->name.tag.empty() && !entry->name.version()) {
    return engine::InvalidField("name", engine::Quoted(source.name), "no alias");
  }
  entry->snapshot.source = source;
  engine::MutexLock lock(mutex_);
  if (const auto alias = aliases_.find(source.name);
      alias != aliases_.end() && alias->second != source.name) {
    return WithResource(WithReason(absl::AlreadyExistsError(absl::StrCat("model ", source.name,
                                                                         " exists: ", alias->second,
                                                                         " serves under its name")),
                                   "MODEL_EXISTS"),
                        "model", source.name);
  }
  if (const auto found = entries_.find(source.name); found != entries_.end()) {
    const ModelState state = found->second->snapshot.state;
    if (state != ModelState::kFailed || found->second->in_use()) {
      return WithResource(
          WithReason(absl::AlreadyExistsError(absl::StrCat(
                         "model ", source.name, " exists and is ", engine::ToAbsl(Name(state)),
                         state == ModelState::kFailed ? " but in use" : "")),
                     "MODEL_EXISTS"),
          "model", source.name);
    }
    entry->replaced = found->second->snapshot;
    if (entry->replaced->source.at_startup) entry->snapshot.source.at_startup = true;
    Erase(source.name);
  }
  entry->metrics = std::make_unique<ModelMetrics>(metrics_, source.name);
  Entry& added = *entries_.emplace(source.name, std::move(entry)).first->second;
  SetState(added, ModelState::kLoading);
  return absl::OkStatus();
}

absl::Status ModelRegistry::Load(const std::string& name) {
  ModelSource source;
  Entry* entry = nullptr;
  {
    engine::MutexLock lock(mutex_);
    ASSIGN_OR_RETURN(entry, Find(name));
    if (std::exchange(entry->load_begun, true)) {
      return absl::FailedPreconditionError(
          absl::StrCat("model ", engine::Quoted(name), " is already being loaded"));
    }
    entry->replaced.reset();
    source = entry->snapshot.source;
  }
  // Load without the lock: no other thread changes an entry that is LOADING.
  const auto begin = std::chrono::steady_clock::now();
  absl::StatusOr<ModelParts> parts = engine::CatchExceptions(
      [&] { return loader_(source.directory, source.options, entry->metrics.get()); });
  const double seconds = Seconds(std::chrono::steady_clock::now() - begin).count();
  if (!parts.ok()) ReturnFreeMemory();

  engine::MutexLock lock(mutex_);
  ModelSnapshot& snapshot = entry->snapshot;
  if (!parts.ok()) {
    idle_.NotifyAll();
    snapshot.error = AsCheckpointError(parts.status());
    LogLimited(LogLevel::kError, "model failed to load",
               {{"model", name}, {"error", std::string(snapshot.error.message())}});
    const absl::Status error = snapshot.error;
    SetFailed(*entry);
    if (entry->retired) Erase(name);
    return error;
  }
  entry->parts = *std::move(parts);
  if (queue_limits_) entry->parts->generator->SetQueueLimits(*queue_limits_);
  snapshot.info = entry->parts->model->info();
  snapshot.defaults = entry->parts->defaults;
  snapshot.digest = entry->parts->digest;
  snapshot.load_time = std::chrono::system_clock::now();
  entry->metrics->OnLoaded(*snapshot.info, seconds);
  entry->metrics->Attach(*entry->parts->generator, *snapshot.info);
  SetState(*entry, ModelState::kReady);
  idle_.NotifyAll();
  LogLimited(LogLevel::kInfo, "model loaded",
             {{"model", name}, {"parameters", snapshot.info->parameters}, {"seconds", seconds}});
  for (const std::string& warning : entry->parts->warnings) {
    LogLimited(LogLevel::kWarning, "model loaded with a warning",
               {{"model", name}, {"warning", warning}});
  }
  if (entry->retired) BeginRetirement(*entry);
  return absl::OkStatus();
}

void ModelRegistry::CancelRegistration(const std::string& name) {
  engine::MutexLock lock(mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second->load_begun) return;
  Entry& entry = *found->second;
  if (!entry.replaced) return Erase(name);
  entry.snapshot = *std::exchange(entry.replaced, std::nullopt);
  entry.load_begun = true;
  SetFailed(entry);
}

void ModelRegistry::SetFailed(Entry& entry) {
  SetState(entry, ModelState::kFailed);
  if (!entry.snapshot.source.at_startup) entry.metrics.reset();
  RecordFailed(entry.snapshot.source);
}

absl::Status ModelRegistry::Unload(const std::string& name) {
  engine::MutexLock lock(mutex_);
  const std::string key(Resolve(name));
  ASSIGN_OR_RETURN(Entry * entry, Find(key));
  const bool failed = entry->state() == ModelState::kFailed;
  if (failed && !entry->in_use()) {
    Erase(key);
    return absl::OkStatus();
  }
  if (entry->retired || (entry->state() != ModelState::kReady && !failed)) {
    return WithPrecondition(
        WithReason(
            absl::FailedPreconditionError(absl::StrCat(
                "model ", key, " is ", engine::ToAbsl(Name(entry->state())), ", expected ready")),
            "MODEL_BUSY"),
        "MODEL_STATE", key);
  }
  SetState(*entry, ModelState::kUnloading);
  while (entry->handles > 0 || entry->freeing) idle_.Wait(mutex_);
  Free(*entry);
  Erase(key);
  LogLimited(LogLevel::kInfo, "model unloaded", {{"model", key}});
  return absl::OkStatus();
}

absl::Status ModelRegistry::Ensure(const ModelSource& source) {
  if (Keep(source.name)) return absl::OkStatus();
  const absl::StatusOr<ModelSnapshot> model = Get(source.name);
  const bool registered = model.ok() && model->state == ModelState::kLoading;
  if (!registered) RETURN_IF_ERROR(Register(source));
  const absl::Status loaded = Load(source.name);
  // Another thread may have begun to load it.
  return Keep(source.name) ? absl::OkStatus() : loaded;
}

bool ModelRegistry::Keep(const std::string& key) {
  engine::MutexLock lock(mutex_);
  auto found = entries_.find(key);
  while (found != entries_.end() && found->second->changing()) {
    idle_.Wait(mutex_);
    found = entries_.find(key);
  }
  if (found == entries_.end()) return false;
  Entry& entry = *found->second;
  if (std::exchange(entry.retired, false)) SetState(entry, ModelState::kReady);
  return entry.state() == ModelState::kReady;
}

void ModelRegistry::Retire(const std::string& key) {
  engine::MutexLock lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  Entry& entry = *found->second;
  const auto leads_here = [&](const auto& alias) { return alias.second == key; };
  if (Serves(entry) || std::ranges::any_of(aliases_, leads_here)) return;
  if (entry.state() == ModelState::kUnloading) return;
  if (entry.changing()) {
    entry.retired = true;  // the thread that changes it will see this
  } else if (entry.parts) {
    BeginRetirement(entry);
  } else {
    Erase(key);
  }
}

void ModelRegistry::BeginRetirement(Entry& entry) {
  entry.retired = true;
  SetState(entry, ModelState::kUnloading);
  wake_.NotifyAll();
}

void ModelRegistry::SetAlias(const std::string& alias, const std::string& key) {
  engine::MutexLock lock(mutex_);
  aliases_[alias] = key;
  if (listener_) listener_(alias, StateOf(Resolve(alias)));
}

void ModelRegistry::RemoveAlias(const std::string& alias) {
  engine::MutexLock lock(mutex_);
  if (aliases_.erase(alias) > 0 && listener_) listener_(alias, StateOf(Resolve(alias)));
}

std::string ModelRegistry::KeyOf(std::string_view name) const {
  engine::MutexLock lock(mutex_);
  return std::string(Resolve(name));
}

std::string_view ModelRegistry::Resolve(std::string_view name) const {
  const auto alias = aliases_.find(name);
  return alias == aliases_.end() ? name : alias->second;
}

bool ModelRegistry::Serves(const Entry& entry) const {
  return Resolve(entry.name.name) == entry.key();
}

std::optional<ModelState> ModelRegistry::StateOf(std::string_view key) const {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return std::nullopt;
  return found->second->state();
}

ModelSnapshot ModelRegistry::SnapshotOf(const Entry& entry) const {
  ModelSnapshot snapshot = entry.snapshot;
  snapshot.version = entry.name.version().value_or(0);
  snapshot.serves = Serves(entry);
  for (const auto& [alias, key] : aliases_) {
    if (key == entry.key() && alias != entry.name.name) snapshot.aliases.push_back(alias);
  }
  if (entry.state() == ModelState::kReady) {
    snapshot.load = entry.parts->generator->load();
    snapshot.generated_tokens = entry.metrics->generated_tokens();
  }
  return snapshot;
}

// Freeing joins the generator's thread, so it is done without the lock. Meanwhile the entry keeps
// the name taken.
void ModelRegistry::Free(Entry& entry) {
  entry.freeing = true;
  mutex_.Unlock();
  entry.metrics->Detach();
  entry.parts.reset();
  ReturnFreeMemory();
  mutex_.Lock();
  entry.freeing = false;
  idle_.NotifyAll();
}

absl::StatusOr<ModelHandle> ModelRegistry::Acquire(std::string_view name) {
  engine::MutexLock lock(mutex_);
  std::string only;
  if (name.empty()) {
    ASSIGN_OR_RETURN(only, OnlyModel());
    name = only;
  }
  ASSIGN_OR_RETURN(Entry * entry, Find(Resolve(name)));
  if (entry->state() != ModelState::kReady) {
    return NotReady(entry->key(), entry->state(), entry->snapshot.error);
  }
  return MakeHandle(*entry);
}

ModelHandle ModelRegistry::MakeHandle(Entry& entry) {
  ++entry.handles;
  return ModelHandle(this, &entry);
}

std::vector<ModelSnapshot> ModelRegistry::List() const {
  engine::MutexLock lock(mutex_);
  std::vector<ModelSnapshot> result;
  for (const auto& [key, entry] : entries_) result.push_back(SnapshotOf(*entry));
  return result;
}

absl::StatusOr<ModelSnapshot> ModelRegistry::Get(std::string_view name) const {
  engine::MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const Entry* entry, Find(Resolve(name)));
  return SnapshotOf(*entry);
}

void ModelRegistry::SetQueueLimits(const engine::QueueLimits& limits) {
  engine::MutexLock lock(mutex_);
  queue_limits_ = limits;
  for (const auto& [key, entry] : entries_) {
    if (entry->parts) entry->parts->generator->SetQueueLimits(limits);
  }
}

std::string ModelRegistry::NotReadyReason() const {
  engine::MutexLock lock(mutex_);
  for (const auto& [name, entry] : entries_) {
    const ModelState state = entry->state();
    if (entry->snapshot.source.at_startup && Serves(*entry) && state != ModelState::kReady) {
      return "model " + name + " is " + std::string(Name(state));
    }
  }
  return "";
}

absl::StatusOr<ModelRegistry::Entry*> ModelRegistry::Find(std::string_view key) const {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return NotFound(key);
  return found->second.get();
}

absl::Status ModelRegistry::NotFound(std::string_view name) const {
  std::vector<std::string> keys;
  for (const auto& [key, entry] : entries_) keys.push_back(key);
  const std::string message = absl::StrCat(
      name.empty() ? "no model was named" : absl::StrCat("no model ", engine::Quoted(name)),
      entries_.empty() ? "; no model is loaded" : "; there is: ", Enumerated(keys));
  return WithResource(WithReason(absl::NotFoundError(message), "MODEL_NOT_FOUND"), "model", name);
}

absl::StatusOr<std::string> ModelRegistry::OnlyModel() const {
  std::vector<std::string> serving, usable;
  for (const auto& [key, entry] : entries_) {
    if (!Serves(*entry)) continue;
    serving.push_back(entry->name.name);
    if (entry->state() != ModelState::kFailed) usable.push_back(entry->name.name);
  }
  if (serving.size() == 1) return serving.front();
  if (usable.size() == 1) return usable.front();
  if (serving.empty()) return NotFound("");
  return engine::InvalidField("model", "no name", "one of: " + Enumerated(serving));
}

void ModelRegistry::SetState(Entry& entry, ModelState state) {
  entry.snapshot.state = state;
  if (entry.metrics != nullptr) entry.metrics->SetState(Name(state));
  Tell(entry.key());
}

void ModelRegistry::Tell(const std::string& key) {
  if (!listener_) return;
  const std::optional<ModelState> state = StateOf(key);
  if (!aliases_.contains(key)) listener_(key, state);
  for (const auto& [alias, target] : aliases_) {
    if (target == key) listener_(alias, state);
  }
}

void ModelRegistry::CheckWeights() {
  std::vector<ModelHandle> ready;
  {
    engine::MutexLock lock(mutex_);
    for (const auto& [name, entry] : entries_) {
      if (entry->snapshot.state == ModelState::kReady) ready.push_back(MakeHandle(*entry));
    }
  }
  for (const ModelHandle& handle : ready) {
    const absl::Status status = handle.model().CheckWeights();  // may wait for disk: no lock
    if (!status.ok()) MarkFailed(*handle.entry_, status);
  }
}

void ModelRegistry::MarkFailed(Entry& entry, const absl::Status& error) {
  engine::MutexLock lock(mutex_);
  if (entry.snapshot.state != ModelState::kReady) return;
  entry.snapshot.error = error;
  entry.parts->generator->Drain();
  SetState(entry, ModelState::kFailed);
  LogLimited(LogLevel::kError, "model failed",
             {{"model", entry.snapshot.source.name}, {"error", std::string(error.message())}});
  RecordFailed(entry.snapshot.source);
}

void ModelRegistry::WatchLoop() {
  using std::chrono::steady_clock;
  engine::MutexLock lock(mutex_);
  auto next_check = steady_clock::now() + kWeightsCheck;
  while (!stopping_) {
    if (!wake_.WaitUntil(mutex_, next_check)) {
      lock.Unlock();
      RunGuarded("weights", [this] { CheckWeights(); });
      next_check = steady_clock::now() + kWeightsCheck;
      lock.Lock();
    }
    FreeUnused();
  }
}

void ModelRegistry::FreeUnused() {
  const auto unused = [](const auto& keyed) {
    const Entry& entry = *keyed.second;
    return !entry.freeing && entry.parts && entry.handles == 0 &&
           (entry.state() == ModelState::kFailed || entry.retired);
  };
  while (true) {
    const auto found = std::ranges::find_if(entries_, unused);
    if (found == entries_.end()) return;
    Entry& entry = *found->second;
    Free(entry);
    if (!entry.retired) continue;
    LogLimited(LogLevel::kInfo, "model unloaded", {{"model", entry.key()}});
    Erase(std::string(entry.key()));
  }
}

void ModelRegistry::RecordFailed(const ModelSource& source) {
  if (source.at_startup) return;
  failed_.push_back(source.name);
  if (std::ssize(failed_) <= kMaxFailed) return;
  for (const std::string& name : failed_) {
    const Entry& entry = *entries_.find(name)->second;
    // An entry that is still in use, or being unloaded, is removed elsewhere.
    if (entry.snapshot.state != ModelState::kFailed || entry.in_use()) continue;
    Erase(std::string(name));
    return;
  }
}

void ModelRegistry::Erase(const std::string& name) {
  std::erase(failed_, name);
  entries_.erase(name);
  Tell(name);
}

void ModelRegistry::Release(Entry& entry) {
  engine::MutexLock lock(mutex_);
  if (--entry.handles > 0) return;
  idle_.NotifyAll();
  if (entry.retired) wake_.NotifyAll();
}

ModelHandle::ModelHandle(ModelHandle&& other) noexcept
    : registry_(std::exchange(other.registry_, nullptr)), entry_(other.entry_) {}

ModelHandle::~ModelHandle() {
  if (registry_ != nullptr) registry_->Release(*entry_);
}

const std::string& ModelHandle::name() const { return entry_->snapshot.source.name; }
engine::Model& ModelHandle::model() const { return *entry_->parts->model; }
const std::string& ModelHandle::digest() const { return entry_->parts->digest; }
const engine::ModelInfo& ModelHandle::info() const { return entry_->parts->model->info(); }
const engine::Tokenizer& ModelHandle::tokenizer() const { return *entry_->parts->tokenizer; }
const engine::GenerationDefaults& ModelHandle::defaults() const { return entry_->parts->defaults; }
engine::ConstraintCache& ModelHandle::constraints() const { return *entry_->parts->constraints; }
engine::Generator& ModelHandle::generator() const { return *entry_->parts->generator; }
ModelMetrics& ModelHandle::metrics() const { return *entry_->metrics; }

}  // namespace whipsnake::server
