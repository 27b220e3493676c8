// Saved states by handle: in memory, or each in a file of a directory, where it survives a restart.
//
// A handle is a secret, a random number that cannot be guessed. Neither the store's directory nor a
// listing has it: a state's name, which they do have, is a one-way digest of the handle (SHA-256,
// cut to 128 bits). A state belongs to what made it: the digest of the model's weights, scheme and
// types. What was acknowledged stays until it expires or is deleted: where there is no room, new
// ones are refused.
//
// Files are read by the thread that continues a state; a thread of the store's does all else with
// them, of which a bounded number waits. None is touched under the lock.
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
  std::string directory;  // of the files, which exists; empty: none are kept
  int64_t max_states = 10'000;
  int64_t max_memory_bytes = int64_t{1} << 30;
  int64_t max_disk_bytes = int64_t{16} << 30;
  std::chrono::milliseconds default_time_to_live = std::chrono::hours(1);
  std::chrono::milliseconds max_time_to_live = std::chrono::hours(24 * 30);
  std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
};

// How a state is to be kept; what is not set is the store's default.
struct StateRetention {
  std::optional<std::chrono::milliseconds> time_to_live;
  std::optional<bool> on_disk;
};

struct StateInfo {
  std::string handle;  // empty in a listing
  std::string name;    // 32 hexadecimal digits, for anyone to see
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

  // That wait for the store's thread. Each costs a disk some milliseconds, so the last one waits a
  // second or so; and all that a model runs by default (64) may end at once, each with a state to
  // be written.
  static constexpr size_t kMaxWaitingTasks = 256;

  // The ledger, where the states in memory are booked, outlives the store.
  StateStore(StateStoreOptions options, engine::Ledger* ledger);
  // Finishes what was begun. `done` of every Save has been called then.
  ~StateStore();

  // Finds the files that are there; once, before all else. Nobody else uses the directory. A file
  // that is no whole state file is renamed to *.corrupt, one that has expired is deleted, as is
  // what a crash has left half written. An error where the directory cannot be read.
  absl::Status Open();

  // INVALID_ARGUMENT with the field ("time_to_live") for a time out of range, FAILED_PRECONDITION
  // for `on_disk` without a directory.
  absl::Status Validate(const StateRetention& retention) const;

  // Save, Fork and Delete tell `done` on the spot, or on a thread of the store's where there is
  // something to do with files. RESOURCE_EXHAUSTED, nothing done, where too much of that waits; and
  // where what is thrown on that thread is for want of memory.

  // Keeps a copy of a state under a new handle and says which: in memory at once, on disk when the
  // file is durable. RESOURCE_EXHAUSTED where there is no room, which is known before anything is
  // copied, INTERNAL where the file cannot be written, else errors as from Validate.
  void Save(const engine::SavedState& state, const std::string& model, const std::string& digest,
            const StateRetention& retention, Done done);
  // The same state once more, on disk or not as it is if `retention` does not say. NOT_FOUND, else
  // errors as from Save, and then as from Load.
  void Fork(std::string_view handle, const StateRetention& retention, Done done);

  // NOT_FOUND for a handle that is unknown, has expired or was deleted.
  absl::StatusOr<StateInfo> Get(std::string_view handle);
  // Says so when it is gone, its file too, which is then durable: INTERNAL where that cannot be
  // removed, and the state is still there.
  void Delete(std::string_view handle, std::function<void(absl::Status)> done);
  // By name, without handles; of one model, or of all where it is empty.
  std::vector<StateInfo> List(std::string_view model);

  // The state to be continued by `model`, whose digest it must have: FAILED_PRECONDITION otherwise.
  // DATA_LOSS where its file is gone, or is damaged or has tokens that the model lacks, which is
  // then renamed to *.corrupt and forgotten; INTERNAL where it cannot be read; RESOURCE_EXHAUSTED
  // where the ledger refuses.
  absl::StatusOr<std::shared_ptr<const engine::SavedState>> Load(std::string_view handle,
                                                                 engine::Model& model,
                                                                 std::string_view digest);

  int64_t memory_bytes() const;
  int64_t disk_bytes() const;
  int64_t states() const;

  // Returns when the store's thread has done what there was to do; for tests.
  void Flush();

 private:
  // A state as bytes, in memory.
  struct Held {
    engine::StateFile file;
    engine::Reservation booked;
  };
  struct Entry {
    StateInfo info;                    // without the handle
    std::shared_ptr<const Held> held;  // null where it is on disk
  };
  class Arrival;
  using Time = std::chrono::system_clock::time_point;

  std::string PathOf(const std::string& name) const;
  void FindFile(const std::string& file);
  // Reads the file of a state on disk. One that is damaged is set aside and forgotten.
  absl::StatusOr<std::shared_ptr<const Held>> Read(const StateInfo& info);
  absl::Status Gone(const StateInfo& info, const absl::Status& why);
  absl::Status Damaged(const StateInfo& info, const absl::Status& why);
  absl::StatusOr<std::shared_ptr<const Held>> Copy(const engine::SavedState& state,
                                                   const StateInfo& info);
  // A new handle for a state like `of`.
  absl::StatusOr<StateInfo> Describe(const StateInfo& of, const StateRetention& retention) const;
  // Room for a state like `of`, and for a task where it has to do with files.
  absl::StatusOr<std::shared_ptr<Arrival>> Admit(const StateInfo& of,
                                                 const StateRetention& retention, bool with_files);
  // Takes in what has arrived; writes its file before, where it is to be on disk.
  absl::StatusOr<StateInfo> Keep(Arrival& arrival, std::shared_ptr<const Held> held);
  absl::Status Write(const StateInfo& info, const engine::StateFile& file) const;
  absl::Status Remove(const StateInfo& info) const;
  absl::Status RemoveAndForget(const StateInfo& info);
  void Work();
  // The worker's next task, or a wait for one; false at the end.
  bool Step();

  // Has the work done, by the worker where it is `with_files`, and tells what came of it.
  template <typename Result>
  void Do(bool with_files, std::function<Result()> work, std::function<void(Result)> done);
  void Queue(std::function<void()> task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckQueue() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status MakeRoom(const StateInfo& info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckRoom(const StateInfo& info) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Count(const StateInfo& info, int sign) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What is inserted was counted before; what is forgotten still has its file.
  void Insert(StateInfo info, std::shared_ptr<const Held> held)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Forget(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Some of those that have expired, the first first, so that no call takes long. The thread frees
  // them and removes their files. False when there is none left.
  bool ForgetExpired() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A copy of the entry, with the handle.
  absl::StatusOr<Entry> Find(std::string_view handle) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const StateStoreOptions options_;
  engine::Ledger& ledger_;
  mutable engine::Mutex mutex_;
  engine::CondVar wake_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);              // by name
  std::set<std::pair<Time, std::string>> by_expiry_ ABSL_GUARDED_BY(mutex_);  // their names
  int64_t memory_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t disk_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // Those on their way to the disk included, as in the bytes.
  int64_t states_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);  // for the worker
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread worker_;  // writes and removes files, and looks for what has expired
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_STATE_STORE_H_
