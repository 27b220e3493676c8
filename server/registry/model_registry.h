// The models that the server holds, by name: loading, serving and unloading.
//
// A model is used through a handle, and unloading waits until no handle is left, as TensorFlow
// Serving does it. A model that cannot be loaded, or whose files change while it is served, stays
// in the list as FAILED, with its error, and disturbs no other. Of those that clients have named
// the latest kMaxFailed stay, and one that did not load has no series in the metrics.
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

// Where a model comes from.
struct ModelSource {
  std::string name;
  std::string directory;   // where it lies
  std::string shown_path;  // as the one who asked for it called it
  engine::ModelOptions options;
  bool at_startup = false;  // named on the command line: the server is not ready without it
};

// How a model stood when one looked.
struct ModelSnapshot {
  ModelSource source;
  ModelState state = ModelState::kLoading;
  absl::Status error;                     // with kFailed
  std::optional<engine::ModelInfo> info;  // once it was loaded, as is
  std::string digest;
  std::chrono::system_clock::time_point load_time;
};

class ModelHandle;

// Thread-safe.
class ModelRegistry {
 public:
  // Told of every change of state, in order, under the registry's lock: must be quick and must not
  // call the registry. nullopt: the name has left the list.
  using Listener = std::function<void(const std::string& name, std::optional<ModelState> state)>;
  static constexpr int kMaxFailed = 32;

  // `metrics` outlives the registry; the listener may be null.
  ModelRegistry(ModelLoader loader, Metrics& metrics, Listener listener);
  // All handles must have been released, and no other call may be in progress.
  ~ModelRegistry();

  // Enters a model as LOADING; ALREADY_EXISTS when the name is taken, unless by a FAILED model that
  // no request holds any more, which it replaces: where the command line named that, the server is
  // not ready without this one either. INVALID_ARGUMENT for a malformed name.
  absl::Status Announce(const ModelSource& source);
  // Loads an announced model, once, and returns when it is READY or FAILED, with the load's error,
  // which blames the files and no request (BlameCheckpoint).
  absl::Status Load(const std::string& name);
  // Takes back an Announce whose Load has not begun: the FAILED model that it replaced is there
  // again, otherwise the name is free.
  void Withdraw(const std::string& name);
  // Takes no new requests for the model, waits for those that run, frees it. NOT_FOUND;
  // FAILED_PRECONDITION while it is loading or unloading already.
  absl::Status Unload(const std::string& name);

  // A ready model to use. An empty name means the only model that has not failed; INVALID_ARGUMENT
  // for the field "model" where there are several. NOT_FOUND names the models that exist;
  // UNAVAILABLE while it is loading or unloading, FAILED_PRECONDITION if it has failed.
  absl::StatusOr<ModelHandle> Acquire(std::string_view name);

  // By name.
  std::vector<ModelSnapshot> List() const;
  absl::StatusOr<ModelSnapshot> Get(std::string_view name) const;

  // Looks whether the files of ready models are as they were loaded (Model::CheckWeights); a model
  // whose files are not is FAILED from then on, with DATA_LOSS, and is freed when no request holds
  // it. The registry does so by itself once a second; it is here for tests.
  void CheckWeights();

  // What keeps the server from being ready: "model x is loading", or "".
  std::string WhyNotReady() const;

 private:
  friend class ModelHandle;
  struct Entry;

  absl::StatusOr<Entry*> Find(std::string_view name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status NotFound(std::string_view name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The names that a message lists.
  std::string ListNames() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What an empty name stands for.
  absl::StatusOr<std::string> OnlyModel() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetState(Entry& entry, ModelState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of those that clients have named; forgets the oldest that nobody uses where there are too many.
  void RememberFailed(const ModelSource& source) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Nobody uses the entry, and its error is known.
  void SetFailed(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void Release(Entry& entry);
  // Both unlock meanwhile.
  void Free(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FreeFailed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ModelHandle Hold(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fail(Entry& entry, const absl::Status& error);
  void Watch();

  const ModelLoader loader_;
  Metrics& metrics_;
  const Listener listener_;
  mutable engine::Mutex mutex_;
  engine::CondVar idle_;  // some entry's last handle is gone, or it was freed
  std::map<std::string, std::unique_ptr<Entry>, std::less<>> entries_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  engine::CondVar stop_;
  std::thread watcher_;  // looks at the weights' files, and frees models that have failed
  // Names that clients chose, the latest last.
  std::deque<std::string> failed_ ABSL_GUARDED_BY(mutex_);
};

// Keeps a ready model from being unloaded. Movable; the registry outlives it.
class ModelHandle {
 public:
  ModelHandle(ModelHandle&& other) noexcept;
  ModelHandle& operator=(ModelHandle&& other) = delete;
  ~ModelHandle();

  const std::string& name() const;
  engine::Model& model() const;  // to be used as its contract says: not for Forward
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
