#include "server/registry/model_registry.h"

#include <malloc.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/guarded.h"
#include "server/logging.h"
#include "server/registry/model_path.h"

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
  std::optional<ModelSnapshot> replaced;  // a FAILED model, until the load begins
  bool load_begun = false;
  int64_t handles = 0;
  bool freeing = false;  // Free is running, without the lock
  // Declared above `parts`, because the generator reports to it. Null for a client's model that
  // failed to load.
  std::unique_ptr<ModelMetrics> metrics;
  std::optional<ModelParts> parts;  // while READY or UNLOADING, or while FAILED but in use

  bool in_use() const { return freeing || parts.has_value(); }
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
  stop_.NotifyAll();
  watcher_.join();
  for (auto& [name, entry] : entries_) {
    if (entry->metrics != nullptr) entry->metrics->Detach();
  }
}

absl::Status ModelRegistry::Register(const ModelSource& source) {
  RETURN_IF_ERROR(CheckModelName(source.name));
  auto entry = std::make_unique<Entry>();
  entry->snapshot.source = source;
  engine::MutexLock lock(mutex_);
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
  SetState(*entry, ModelState::kLoading);
  entries_.emplace(source.name, std::move(entry));
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
    snapshot.error = AsCheckpointError(parts.status());
    LogLimited(LogLevel::kError, "model failed to load",
               {{"model", name}, {"error", std::string(snapshot.error.message())}});
    const absl::Status error = snapshot.error;
    SetFailed(*entry);
    return error;
  }
  entry->parts = *std::move(parts);
  snapshot.info = entry->parts->model->info();
  snapshot.digest = entry->parts->digest;
  snapshot.load_time = std::chrono::system_clock::now();
  entry->metrics->OnLoaded(*snapshot.info, seconds);
  entry->metrics->Attach(*entry->parts->generator);
  SetState(*entry, ModelState::kReady);
  LogLimited(LogLevel::kInfo, "model loaded",
             {{"model", name}, {"parameters", snapshot.info->parameters}, {"seconds", seconds}});
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
  ASSIGN_OR_RETURN(Entry * entry, Find(name));
  const bool failed = entry->snapshot.state == ModelState::kFailed;
  if (failed && !entry->in_use()) {
    Erase(name);
    return absl::OkStatus();
  }
  if (entry->snapshot.state != ModelState::kReady && !failed) {
    return WithPrecondition(
        WithReason(absl::FailedPreconditionError(absl::StrCat(
                       "model ", name, " is ", engine::ToAbsl(Name(entry->snapshot.state)),
                       ", expected ready")),
                   "MODEL_BUSY"),
        "MODEL_STATE", name);
  }
  SetState(*entry, ModelState::kUnloading);
  if (!failed) entry->parts->generator->Drain();
  while (entry->handles > 0 || entry->freeing) idle_.Wait(mutex_);
  Free(*entry);
  Erase(name);
  LogLimited(LogLevel::kInfo, "model unloaded", {{"model", name}});
  return absl::OkStatus();
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
  ASSIGN_OR_RETURN(Entry * entry, Find(name));
  if (entry->snapshot.state != ModelState::kReady) {
    return NotReady(name, entry->snapshot.state, entry->snapshot.error);
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
  for (const auto& [name, entry] : entries_) result.push_back(entry->snapshot);
  return result;
}

absl::StatusOr<ModelSnapshot> ModelRegistry::Get(std::string_view name) const {
  engine::MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const Entry* entry, Find(name));
  return entry->snapshot;
}

std::string ModelRegistry::NotReadyReason() const {
  engine::MutexLock lock(mutex_);
  for (const auto& [name, entry] : entries_) {
    const ModelSnapshot& model = entry->snapshot;
    if (model.source.at_startup && model.state != ModelState::kReady) {
      return "model " + name + " is " + std::string(Name(model.state));
    }
  }
  return "";
}

absl::StatusOr<ModelRegistry::Entry*> ModelRegistry::Find(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return NotFound(name);
  return found->second.get();
}

absl::Status ModelRegistry::NotFound(std::string_view name) const {
  const std::string message = absl::StrCat(
      name.empty() ? "no model was named" : absl::StrCat("no model ", engine::Quoted(name)),
      entries_.empty() ? "; no model is loaded" : "; there is: ", ListNames());
  return WithResource(WithReason(absl::NotFoundError(message), "MODEL_NOT_FOUND"), "model", name);
}

std::string ModelRegistry::ListNames() const {
  std::string names;
  int listed = 0;
  for (const auto& [name, entry] : entries_) {
    if (++listed > kNamesInMessage) return names + " and more";
    absl::StrAppend(&names, names.empty() ? "" : ", ", name);
  }
  return names;
}

absl::StatusOr<std::string> ModelRegistry::OnlyModel() const {
  if (entries_.size() == 1) return entries_.begin()->first;
  std::vector<std::string> usable;
  for (const auto& [name, entry] : entries_) {
    if (entry->snapshot.state != ModelState::kFailed) usable.push_back(name);
  }
  if (usable.size() == 1) return usable.front();
  if (entries_.empty()) return NotFound("");
  return engine::InvalidField("model", "no name", absl::StrCat("one of: ", ListNames()));
}

void ModelRegistry::SetState(Entry& entry, ModelState state) {
  entry.snapshot.state = state;
  if (entry.metrics != nullptr) entry.metrics->SetState(Name(state));
  if (listener_) listener_(entry.snapshot.source.name, state);
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
  engine::MutexLock lock(mutex_);
  while (!stopping_) {
    if (stop_.WaitUntil(mutex_, std::chrono::steady_clock::now() + kWeightsCheck)) continue;
    lock.Unlock();
    RunGuarded("weights", [this] { CheckWeights(); });
    lock.Lock();
    FreeFailed();
  }
}

void ModelRegistry::FreeFailed() {
  const auto free = [](const auto& named) {
    const Entry& entry = *named.second;
    return entry.snapshot.state == ModelState::kFailed && !entry.freeing && entry.parts &&
           entry.handles == 0;
  };
  while (true) {
    const auto found = std::ranges::find_if(entries_, free);
    if (found == entries_.end()) return;
    Free(*found->second);
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
  if (listener_) listener_(name, std::nullopt);
}

void ModelRegistry::Release(Entry& entry) {
  engine::MutexLock lock(mutex_);
  if (--entry.handles == 0) idle_.NotifyAll();
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
