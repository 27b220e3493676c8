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
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/mutex.h"
#include "engine/generate/saved_state.h"
#include "engine/generate/state_file.h"
#include "engine/models/model.h"
#include "server/work/disk_queue.h"

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

  // `ledger`, in which states in memory are booked, must outlive the store.
  StateStore(StateStoreOptions options, engine::Ledger* ledger);
  // Finishes all tasks. By then `done` of every call has been called.
  ~StateStore() = default;

  // Finds the existing files. Must be called once, before everything else; no other process may use
  // the directory. A file that is not a complete state file is renamed to *.corrupt; expired files,
  // and files left half written by a crash, are deleted. Returns an error if the directory cannot
  // be read.
  absl::Status Open();

  // Returns INVALID_ARGUMENT with the field ("time_to_live") if the time is out of range, and
  // FAILED_PRECONDITION if `on_disk` is set without a directory.
  absl::Status Validate(const StateRetention& retention) const;

  // Save, Fork and Delete call `done` once: before they return, or on the store's thread if files
  // are involved. They throw only what `done` throws, and report RESOURCE_EXHAUSTED if memory runs
  // out. Fork and Delete also report it, with nothing done, if they need files and too many such
  // calls wait, in all or of this client. Save is not refused for that, because a computation would
  // be lost; the ledger bounds the copies that wait.

  // Saves a copy of a state under a new handle, and reports it: at once for a state in memory, or
  // once the file is durable. RESOURCE_EXHAUSTED, before anything is copied, if there is no room;
  // INTERNAL if the file cannot be written; otherwise errors of Validate.
  void Save(const engine::SavedState& state, const std::string& model, const std::string& digest,
            const StateRetention& retention, Done done);
  // Saves the same state under another handle. If `retention` does not set on_disk, it is on disk
  // if the original is. NOT_FOUND; otherwise errors of Save and of Load.
  void Fork(std::string_view handle, const StateRetention& retention, const std::string& client,
            Done done);

  // NOT_FOUND for a handle that is unknown, expired or deleted.
  absl::StatusOr<StateInfo> Get(std::string_view handle);
  // Deletes a state, and its file if it has one; reports once that is durable. INTERNAL if the file
  // cannot be removed, and the state then still exists; or if it was removed but may come back with
  // the next start.
  void Delete(std::string_view handle, const std::string& client,
              std::function<void(absl::Status)> done);
  // Refuses forks and deletions with UNAVAILABLE from here on, and calls `done` of those that wait
  // with it. Saves are still done.
  void Close();
  // Lists states sorted by name, without handles: those of one model, or all if `model` is empty.
  std::vector<StateInfo> List(std::string_view model);

  // Returns the state, to be continued by `model`. NOT_FOUND as from Get; FAILED_PRECONDITION
  // unless `digest`, the digest of `model`, is that of the state; DATA_LOSS if the state's file is
  // missing, is damaged or has tokens that the model lacks (in the last two cases the file is
  // renamed to *.corrupt and the state is erased); INTERNAL if the file cannot be read;
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
  struct SerializedState {
    engine::StateFile file;
    engine::Reservation booked;
  };
  struct Entry {
    StateInfo info;                                     // without the handle
    std::shared_ptr<const SerializedState> serialized;  // null if it is on disk
  };
  class PendingState;
  // The work of a call after its checks. It waits for the worker if it needs files.
  template <typename Result>
  struct Job {
    std::optional<std::string> client;  // as in DiskQueue::Task
    bool with_files = false;
    std::function<Result()> work;
  };
  using Saving = absl::StatusOr<Job<absl::StatusOr<StateInfo>>>;
  using Deleting = absl::StatusOr<Job<absl::Status>>;
  using Time = std::chrono::system_clock::time_point;
  using Entries = std::map<std::string, Entry>;
  using Expiries = std::set<std::pair<Time, std::string>>;

  std::string PathOf(const std::string& name) const;
  void RecoverFile(const std::string& file);
  // Reads the file of a state on disk. A damaged file is set aside and its state erased.
  absl::StatusOr<std::shared_ptr<const SerializedState>> ReadFile(const StateInfo& info);
  absl::Status FileMissing(const StateInfo& info, const absl::Status& why);
  absl::Status SetAsideDamaged(const StateInfo& info, const absl::Status& why);
  absl::StatusOr<std::shared_ptr<const SerializedState>> Copy(const engine::SavedState& state,
                                                              const StateInfo& info);
  // Returns the description, with a new handle, of a state like `of`.
  absl::StatusOr<StateInfo> Describe(const StateInfo& of, const StateRetention& retention) const;
  Saving BeginSave(const engine::SavedState& state, const std::string& model,
                   const std::string& digest, const StateRetention& retention);
  Saving BeginFork(std::string_view handle, const StateRetention& retention,
                   const std::string& client);
  Deleting BeginDelete(std::string_view handle, const std::string& client);
  // Reserves room for a state like `of`. If it is to be on disk, or `reads_file`, checks the share
  // of `client`, if there is one, in the queue.
  absl::StatusOr<std::shared_ptr<PendingState>> Admit(const StateInfo& of,
                                                      const StateRetention& retention,
                                                      bool reads_file,
                                                      const std::optional<std::string>& client);
  // Adds the state of `pending`. Writes its file first if it is to be on disk.
  absl::StatusOr<StateInfo> Store(PendingState& pending,
                                  std::shared_ptr<const SerializedState> serialized);
  absl::Status WriteFile(const StateInfo& info, const engine::StateFile& file) const;
  absl::Status RemoveFile(const StateInfo& info) const;
  absl::Status RemoveFileAndEntry(const StateInfo& info);
  // Called regularly by the queue's thread.
  void Maintain();

  // Calls `begin`, does the job that it returns, and passes the result, or the error of `begin` or
  // of an exception, to `done`.
  template <typename Result>
  void RunTask(absl::FunctionRef<absl::StatusOr<Job<Result>>()> begin,
               std::function<void(Result)> done);
  absl::Status EnsureRoom(const StateInfo& info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckRoom(const StateInfo& info) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Count(const StateInfo& info, int sign) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Insert does not count the state. Erase does not remove the file.
  // Each has no effect if it throws.
  void Insert(StateInfo info, std::shared_ptr<const SerializedState> serialized)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Erase(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Removes and returns the entry of the state that expires first. Does not throw.
  Entries::node_type ExtractEarliest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Erases some expired states, the earliest first, and has the worker free them and remove their
  // files. Bounded, so that no call takes long. Returns whether more are left.
  bool EraseExpired() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Returns a copy of the entry, with the handle.
  absl::StatusOr<Entry> Find(std::string_view handle) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const StateStoreOptions options_;
  engine::Ledger& ledger_;
  mutable engine::Mutex mutex_;
  Entries entries_ ABSL_GUARDED_BY(mutex_);     // by name
  Expiries by_expiry_ ABSL_GUARDED_BY(mutex_);  // with the names of entries
  int64_t memory_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t disk_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // Like the bytes, includes states that are still being saved.
  int64_t states_ ABSL_GUARDED_BY(mutex_) = 0;
  // Writes and removes files. The last member, because its thread uses the others.
  DiskQueue queue_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_STATE_STORE_H_
