// The durable records of the server: data sets, jobs, checkpoints, versions of models.
//
// The store knows records, events and heartbeats. What they mean, and the JSON text in them,
// belongs to those who write them. There is one implementation, SqliteStore; a second one has to
// pass the same tests (tests/server/store_conformance.h).
#ifndef WHIPSNAKE_SERVER_STORE_STORE_H_
#define WHIPSNAKE_SERVER_STORE_STORE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::server {

using WallTime = std::chrono::system_clock::time_point;

enum class Collection { kDatasets, kJobs, kCheckpoints, kModelVersions, kModelAliases };
inline constexpr int kCollectionCount = 5;
std::string_view Name(Collection collection);  // "datasets", "jobs", ...

struct Record {
  std::string key;       // unique in the collection
  std::string parent;    // the key of what it belongs to, such as the job of a checkpoint, or ""
  int64_t number = 0;    // ascends with creation in its collection; is never used again
  int64_t revision = 0;  // 1 when created, incremented by each update
  std::string value;     // UTF-8
  WallTime create_time, update_time;  // in milliseconds
};

struct StoredEvent {
  int64_t id = 0;  // ascends over all streams; is never used again
  std::string stream;
  WallTime time;  // in milliseconds
  std::string value;
};

struct Heartbeat {
  std::string key;
  WallTime time;
  std::string value;
};

// The parts of a transaction.
struct CreateRecord {
  Collection collection;
  std::string key, parent, value;
};
struct UpdateRecord {
  Collection collection;
  std::string key, value;
  int64_t revision = 0;  // that the record must have; 0: any
};
struct DeleteRecord {
  Collection collection;
  std::string key;
  int64_t revision = 0;  // that the record must have; 0: any
};
// Deletes the records with this parent, if there are any.
struct DeleteChildren {
  Collection collection;
  std::string parent;
};
struct AppendEvent {
  std::string stream, value;
};
struct DeleteEvents {
  std::string stream;
};
using Write = std::variant<CreateRecord, UpdateRecord, DeleteRecord, DeleteChildren, AppendEvent,
                           DeleteEvents>;

// What a transaction has assigned, in the order of its writes.
struct Committed {
  std::vector<Record> records;      // of each CreateRecord and UpdateRecord: as that has made it
  std::vector<StoredEvent> events;  // of each AppendEvent
};

// Thread-safe. Every call may wait for the disk.
//
// Errors of all calls: RESOURCE_EXHAUSTED if the disk is full, UNAVAILABLE if another process keeps
// the database locked, DATA_LOSS if the file is damaged, INTERNAL for other errors of the system.
// Their messages name the file; see StorageError in server/errors.h. After an error nothing of the
// call has been done, and the store can be used further. An error of Commit with the reason
// COMMIT_IN_DOUBT leaves open what a store finds that is opened before the next successful Commit:
// all of the writes or none.
class Store {
 public:
  virtual ~Store() = default;

  // Applies all writes in their order, or none. Their times are equal. When this returns OK, they
  // survive a crash of the process and of the machine. ALREADY_EXISTS if a record to create exists;
  // NOT_FOUND if one to update or delete does not; ABORTED if it has another revision. These three
  // name the collection and the key.
  virtual absl::StatusOr<Committed> Commit(std::span<const Write> writes) = 0;

  // NOT_FOUND, naming the collection and the key.
  virtual absl::StatusOr<Record> Get(Collection collection, std::string_view key) = 0;
  // At most `limit` records with a number above `after`, in the order of numbers. None if the limit
  // is not positive.
  virtual absl::StatusOr<std::vector<Record>> List(Collection collection, int64_t after,
                                                   int limit) = 0;
  // All records with this parent, in the order of numbers.
  virtual absl::StatusOr<std::vector<Record>> Children(Collection collection,
                                                       std::string_view parent) = 0;
  // At most `limit` events of the stream with an id above `after`, in the order of ids. None if the
  // limit is not positive.
  virtual absl::StatusOr<std::vector<StoredEvent>> Events(std::string_view stream, int64_t after,
                                                          int limit) = 0;

  // Records that the owner of `key` was alive at this time, in place of its heartbeat before. Not
  // durable until the next Commit, so that it does not wait for the disk.
  virtual absl::Status Beat(std::string_view key, std::string_view value) = 0;
  // All heartbeats, sorted by key.
  virtual absl::StatusOr<std::vector<Heartbeat>> Heartbeats() = 0;
  // Removes the heartbeat, if there is one.
  virtual absl::Status EndBeat(std::string_view key) = 0;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_STORE_STORE_H_
