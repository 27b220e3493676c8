// Saved states by handle. Each is in memory, or in a file of a directory, where it survives a
// restart.
//
// A handle is a secret: a random number that cannot be guessed. Neither the store's directory nor a
// listing contains it. They contain the state's name, a one-way digest of the handle (SHA-256
// truncated to 128 bits). A state can be continued only by a model with the digest of the one that
// made it: the digest of its weights, scheme and types. A saved state is kept until it expires or
// is deleted: if there is no room, new states are refused.
//
// Files are read on the thread that continues a state. All other file work is done on the store's
// thread, with a bounded queue. No file is accessed with the lock held.
#ifndef WHIPSNAKE_SERVER_REGISTRY_STATE_STORE_H_
#define WHIPSNAKE_SERVER_REGISTRY_STATE_STORE_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/mutex.h"
#include "engine/generate/saved_state.h"
#include "engine/generate/state_file.h"
#include "engine/models/model.h"

namespace whipsnake::server {

struct StateStoreOptions {
  std::string directory;  // of the files, must exist; empty: no files are kept
  int64_t max_states = 10'000;
  int64_t max_memory_bytes = int64_t{1} << 30;
  int64_t max_disk_bytes = int64_t{16} << 30;
  std::chrono::milliseconds default_time_to_live = std::chrono::hours(1);
  std::chrono::milliseconds max_time_to_live = std::chrono::hours(24 * 30);
  std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
};

// How to keep a state. Unset fields take the store's defaults.
struct StateRetention {
  std::optional<std::chrono::milliseconds> time_to_live;
  std::optional<bool> on_disk;
};

struct StateInfo {
  std::string handle;  // empty in a listing
  std::string name;    // 32 hexadecimal digits; not a secret
  std::string model;
  std::string digest;
  int64_t tokens = 0;
  int64_t position = 0;
  int64_t bytes = 0;  // of state and tokens
  std::chrono::system_clock::time_point created, expires;
  bool on_disk = false;
};

// Thread-safe.
class StateStore {
 public:
  using Done = std::function<void(absl::StatusOr<StateInfo>)>;

  // The most tasks that wait for the store's thread. Each costs a disk some milliseconds, so the
  // last one waits a second or so. All sequences that a model runs by default (64) may end at once,
  // each with a state to write.
  static constexpr size_t kMaxWaitingTasks = 256;

  // `ledger`, in which states in memory are booked, must outlive the store.
  StateStore(StateStoreOptions options, engine::Ledger* ledger);
  // Finishes all tasks. By then `done` of every call has been called.
  ~StateStore();

  // Finds the existing files. Must be called once, before everything else; no other process may use
  // the directory. A file that is not a complete state file is renamed to *.corrupt; expired files,
  // and files left half written by a crash, are deleted. Returns an error if the directory cannot
  // be read.
  absl::Status Open();

  // Returns INVALID_ARGUMENT with the field ("time_to_live") if the time is out of range, and
  // FAILED_PRECONDITION if `on_disk` is set without a directory.
  absl::Status Validate(const StateRetention& retention) const;

  // Save, Fork and Delete call `done` before they return, or on the store's thread if files are
  // involved. They report RESOURCE_EXHAUSTED, with nothing done, if too many file tasks wait, and
  // also if a task runs out of memory.

  // Saves a copy of a state under a new handle, and reports it: at once for a state in memory, or
  // once the file is durable. RESOURCE_EXHAUSTED, before anything is copied, if there is no room;
  // INTERNAL if the file cannot be written; otherwise errors of Validate.
  void Save(const engine::SavedState& state, const std::string& model, const std::string& digest,
            const StateRetention& retention, Done done);
  // Saves the same state under another handle. If `retention` does not set on_disk, it is on disk
  // if the original is. NOT_FOUND; otherwise errors of Save and of Load.
  void Fork(std::string_view handle, const StateRetention& retention, Done done);

  // NOT_FOUND for a handle that is unknown, expired or deleted.
  absl::StatusOr<StateInfo> Get(std::string_view handle);
  // Deletes a state, and its file if it has one; reports once that is durable. INTERNAL if the file
  // cannot be removed; the state then still exists.
  void Delete(std::string_view handle, std::function<void(absl::Status)> done);
  // Lists states sorted by name, without handles: those of one model, or all if `model` is empty.
  std::vector<StateInfo> List(std::string_view model);

  // Returns the state, to be continued by `model`. NOT_FOUND as from Get; FAILED_PRECONDITION
  // unless `digest`, the digest of `model`, is that of the state; DATA_LOSS if the state's file is
  // missing, is damaged or has tokens that the model lacks (in the last two cases the file is
  // renamed to *.corrupt and the state is forgotten); INTERNAL if the file cannot be read;
  // RESOURCE_EXHAUSTED if the ledger refuses.
  absl::StatusOr<std::shared_ptr<const engine::SavedState>> Load(std::string_view handle,
                                                                 engine::Model& model,
                                                                 std::string_view digest);

  int64_t memory_bytes() const;
  int64_t disk_bytes() const;
  int64_t states() const;

  // Returns when the store's thread has done all queued tasks; for tests.
  void Flush();

 private:
  // A state serialised in memory.
  struct Held {
    engine::StateFile file;
    engine::Reservation booked;
  };
  struct Entry {
    StateInfo info;                    // without the handle
    std::shared_ptr<const Held> held;  // null if it is on disk
  };
  class Arrival;
  using Time = std::chrono::system_clock::time_point;

  std::string PathOf(const std::string& name) const;
  void FindFile(const std::string& file);
  // Reads the file of a state on disk. A damaged file is set aside and its state forgotten.
  absl::StatusOr<std::shared_ptr<const Held>> Read(const StateInfo& info);
  absl::Status Gone(const StateInfo& info, const absl::Status& why);
  absl::Status Damaged(const StateInfo& info, const absl::Status& why);
  absl::StatusOr<std::shared_ptr<const Held>> Copy(const engine::SavedState& state,
                                                   const StateInfo& info);
  // Returns the description, with a new handle, of a state like `of`.
  absl::StatusOr<StateInfo> Describe(const StateInfo& of, const StateRetention& retention) const;
  // Reserves room for a state like `of`, and checks the queue if files are involved.
  absl::StatusOr<std::shared_ptr<Arrival>> Admit(const StateInfo& of,
                                                 const StateRetention& retention, bool with_files);
  // Adds the state of `arrival`. Writes its file first if it is to be on disk.
  absl::StatusOr<StateInfo> Keep(Arrival& arrival, std::shared_ptr<const Held> held);
  absl::Status Write(const StateInfo& info, const engine::StateFile& file) const;
  absl::Status Remove(const StateInfo& info) const;
  absl::Status RemoveAndForget(const StateInfo& info);
  void Work();
  // Runs the worker's next task, or waits for one. Returns false once stopping and no task is left.
  bool Step();

  // Runs `work`, on the worker if `with_files`, and passes the result to `done`.
  template <typename Result>
  void Do(bool with_files, std::function<Result()> work, std::function<void(Result)> done);
  void Queue(std::function<void()> task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckQueue() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status MakeRoom(const StateInfo& info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckRoom(const StateInfo& info) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Count(const StateInfo& info, int sign) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Insert does not count the state, which must have been counted. Forget does not remove the file.
  void Insert(StateInfo info, std::shared_ptr<const Held> held)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Forget(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Forgets some expired states, the earliest first, and has the worker free them and remove their
  // files. Bounded, so that no call takes long. Returns whether more are left.
  bool ForgetExpired() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Returns a copy of the entry, with the handle.
  absl::StatusOr<Entry> Find(std::string_view handle) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const StateStoreOptions options_;
  engine::Ledger& ledger_;
  mutable engine::Mutex mutex_;
  engine::CondVar wake_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);              // by name
  std::set<std::pair<Time, std::string>> by_expiry_ ABSL_GUARDED_BY(mutex_);  // names of entries
  int64_t memory_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t disk_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // Like the bytes, includes states that are still being saved.
  int64_t states_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);  // for the worker
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread worker_;  // writes and removes files, and looks for expired states
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_STATE_STORE_H_
