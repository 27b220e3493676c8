// The server's models by name: loading, use and unloading.
//
// A model is used through a handle, and unloading waits until no handle is left, as in TensorFlow
// Serving. A model has a key: a name ("support"), or a name and the number of a version
// ("support:3"). Aliases lead to keys: "support" and "support:stable" may lead to "support:3". An
// alias that equals a key hides the model of this key. The model that a bare name leads to, by its
// key or by an alias, is the one that serves.
//
// A handle is taken in the same critical section as the alias is looked up. To exchange a model,
// load the new one, let the alias lead to it, and retire the old one: every Acquire before gets the
// old one, and keeps it until its end; every Acquire after gets the new one; none fails.
//
// A model that cannot be loaded, or whose files change while it is served, stays in the
// list as FAILED, with its error, and does not affect other models. Of the FAILED models loaded by
// clients, the latest kMaxFailed are kept; a client's model that failed to load has no metrics.
#ifndef WHIPSNAKE_SERVER_REGISTRY_MODEL_REGISTRY_H_
#define WHIPSNAKE_SERVER_REGISTRY_MODEL_REGISTRY_H_

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "server/metrics/model_metrics.h"
#include "server/registry/model_loader.h"

namespace whipsnake::server {

enum class ModelState { kLoading, kReady, kUnloading, kFailed };
std::string_view Name(ModelState state);  // "loading", "ready", "unloading", "failed"

// The source of a model.
struct ModelSource {
  std::string name;  // the key
  std::string directory;
  std::string shown_path;  // the path as given by the client or the operator
  engine::ModelOptions options;
  // Named on the command line, or a promoted version. While it serves, the server is not ready
  // without it.
  bool at_startup = false;
  // Of a version: the job and the step that its weights come from. "" and 0 if unknown.
  std::string source_job = {};
  int64_t checkpoint_step = 0;
};

// The state of a model at one moment.
struct ModelSnapshot {
  ModelSource source;
  ModelState state = ModelState::kLoading;
  absl::Status error;                     // with kFailed
  std::optional<engine::ModelInfo> info;  // once loaded; also `defaults`, `digest`, `load_time`
  engine::GenerationDefaults defaults;
  std::string digest;
  std::chrono::system_clock::time_point load_time;
  int64_t version = 0;                        // that its key names; 0 if none
  bool serves = false;                        // its bare name leads to it
  std::vector<std::string> aliases;           // that lead to it, without its bare name; sorted
  std::optional<engine::GeneratorLoad> load;  // while READY
  int64_t generated_tokens = 0;               // since it was loaded
};

class ModelHandle;

// Thread-safe.
class ModelRegistry {
 public:
  // Called on every change of state, in order, with the registry's lock held: must be quick and
  // must not call the registry. It is called with the key and with every alias that leads to it;
  // for an alias also when it leads to another model. nullopt: the name has been removed.
  using Listener = std::function<void(const std::string& name, std::optional<ModelState> state)>;
  static constexpr int kMaxFailed = 32;

  // `metrics` must outlive the registry. `listener` may be null.
  ModelRegistry(ModelLoader loader, Metrics& metrics, Listener listener);
  // All handles must have been released, and no other call may be in progress.
  ~ModelRegistry();

  // Adds a model as LOADING. ALREADY_EXISTS if the key is taken or hidden by an alias; a FAILED
  // model that is not in use is replaced, and if it was named on the command line, the server is
  // not ready without the new one either. INVALID_ARGUMENT for a malformed name.
  absl::Status Register(const ModelSource& source);
  // Loads a registered model, once. Returns when it is READY or FAILED, with the load's error,
  // which is converted by AsCheckpointError.
  absl::Status Load(const std::string& name);
  // Undoes a Register whose Load has not begun: restores the FAILED model that it replaced, if
  // any; otherwise frees the name.
  void CancelRegistration(const std::string& name);
  // Stops accepting requests for the model, waits for the running ones, and frees the model.
  // NOT_FOUND if there is no such model; FAILED_PRECONDITION while it is loading or already
  // unloading.
  absl::Status Unload(const std::string& name);

  // Makes a model READY: keeps the one with this key if it is READY or retired but not yet freed;
  // otherwise registers and loads it. Waits for a load or an unload of the key that has begun.
  // Returns the errors of Register and Load.
  absl::Status Ensure(const ModelSource& source);
  // The first half of Ensure: returns whether the model with this key is READY now.
  bool Keep(const std::string& key);
  // Unloads the model with this key in the background, once no handle is left, unless it serves or
  // an alias leads to it. Does not wait.
  void Retire(const std::string& key);

  // Lets `alias` lead to a key from now on, in place of the key before. The model of the key should
  // be READY, or LOADING at the start.
  void SetAlias(const std::string& alias, const std::string& key);
  void RemoveAlias(const std::string& alias);
  // Returns the key that the name leads to, or the name itself.
  std::string KeyOf(std::string_view name) const;

  // Returns a handle to a ready model. A name is a key or an alias. An empty name means the only
  // model that serves and has not failed; INVALID_ARGUMENT for the field "model" if there are
  // several. NOT_FOUND lists the existing
  // models; UNAVAILABLE while the model is loading or unloading; FAILED_PRECONDITION if it has
  // failed.
  absl::StatusOr<ModelHandle> Acquire(std::string_view name);

  // Sorted by key.
  std::vector<ModelSnapshot> List() const;
  absl::StatusOr<ModelSnapshot> Get(std::string_view name) const;

  // Checks that the files of ready models are unchanged since loading (Model::CheckWeights). A
  // model whose files have changed becomes FAILED, with DATA_LOSS, and is freed once no request
  // uses it. The registry does this by itself once a second; the function is public for tests.
  void CheckWeights();

  // Replaces the limits of the queues of all models, also of those that are loaded later.
  void SetQueueLimits(const engine::QueueLimits& limits);

  // Returns why the server is not ready, such as "model x is loading", or "".
  std::string NotReadyReason() const;

 private:
  friend class ModelHandle;
  struct Entry;

  absl::StatusOr<Entry*> Find(std::string_view key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string_view Resolve(std::string_view name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Serves(const Entry& entry) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ModelSnapshot SnapshotOf(const Entry& entry) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<ModelState> StateOf(std::string_view key) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tells the listener about the key and all aliases that lead to it.
  void Tell(const std::string& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status NotFound(std::string_view name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The model that an empty name means.
  absl::StatusOr<std::string> OnlyModel() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetState(Entry& entry, ModelState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Records a FAILED model that a client loaded. If there are too many, erases the oldest that is
  // not in use.
  void RecordFailed(const ModelSource& source) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Erase(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The entry must not be in use, and its error must be set.
  void SetFailed(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Lets the watcher free a retired model that is loaded.
  void BeginRetirement(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void Release(Entry& entry);
  // Both release the lock while they free.
  void Free(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FreeUnused() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ModelHandle MakeHandle(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MarkFailed(Entry& entry, const absl::Status& error);
  void WatchLoop();

  const ModelLoader loader_;
  Metrics& metrics_;
  const Listener listener_;
  mutable engine::Mutex mutex_;
  // An entry's last handle was released, an entry was freed, or a load has ended.
  engine::CondVar idle_;
  std::map<std::string, std::unique_ptr<Entry>, std::less<>> entries_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string, std::less<>> aliases_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<engine::QueueLimits> queue_limits_ ABSL_GUARDED_BY(mutex_);  // unset: the loader's
  engine::CondVar wake_;
  std::thread watcher_;  // checks the weights' files, and frees failed and retired models
  // FAILED models that clients loaded, the latest last.
  std::deque<std::string> failed_ ABSL_GUARDED_BY(mutex_);
};

// Keeps a ready model from being freed. Movable. The registry must outlive the handle.
class ModelHandle {
 public:
  ModelHandle(ModelHandle&& other) noexcept;
  ModelHandle& operator=(ModelHandle&& other) = delete;
  ~ModelHandle();

  const std::string& name() const;  // the model's key
  engine::Model& model() const;     // thread-safe functions only, so not Forward
  const std::string& digest() const;
  const engine::ModelInfo& info() const;
  const engine::Tokenizer& tokenizer() const;
  const engine::GenerationDefaults& defaults() const;
  engine::ConstraintCache& constraints() const;
  engine::Generator& generator() const;
  ModelMetrics& metrics() const;

 private:
  friend class ModelRegistry;
  ModelHandle(ModelRegistry* registry, ModelRegistry::Entry* entry)
      : registry_(registry), entry_(entry) {}

  ModelRegistry* registry_;  // null after a move
  ModelRegistry::Entry* entry_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_MODEL_REGISTRY_H_
