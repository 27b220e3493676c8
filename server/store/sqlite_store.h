// The store in a SQLite database.
#ifndef WHIPSNAKE_SERVER_STORE_SQLITE_STORE_H_
#define WHIPSNAKE_SERVER_STORE_SQLITE_STORE_H_

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "server/store/heartbeats.h"
#include "server/store/sqlite_database.h"
#include "server/store/sqlite_tables.h"
#include "server/store/store.h"

namespace whipsnake::server {

struct SqliteStoreOptions {
  SqliteOptions sqlite;
  std::function<WallTime()> now = std::chrono::system_clock::now;
};

// One process at a time may have a database open; the caller ensures it (DataDirectory). The file
// is in SQLite's WAL mode, so other programs can read it meanwhile.
//
// A call waits while another one uses the database, Commit for its sync. Beat, EndBeat and
// Heartbeats use memory alone and never wait; the next Commit, or the destruction, saves the
// heartbeats.
//
// If the system fails to sync a Commit, its writes may be in the file all the same. The store then
// overwrites them there. If this fails too, the error has the reason COMMIT_IN_DOUBT: the writes
// are undone for this store, but a database that is opened again before another Commit has
// succeeded may have all of them.
class SqliteStore final : public Store {
 public:
  // Opens the database or creates it, and changes the tables of an older version to those of this
  // one. ":memory:" is a store without a file, which ends with the object. Reads the whole file, to
  // see that it is not damaged.
  //
  // DATA_LOSS if the file is damaged or not a database; FAILED_PRECONDITION if it belongs to a
  // newer version or to another program, or cannot be opened or written; otherwise errors of Store.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(const std::string& path,
                                                           SqliteStoreOptions options = {});
  ~SqliteStore() override;

  absl::StatusOr<Committed> Commit(std::span<const Write> writes) override;
  absl::StatusOr<Record> Get(Collection collection, std::string_view key) override;
  absl::StatusOr<std::vector<Record>> List(Collection collection, int64_t after,
                                           int limit) override;
  absl::StatusOr<std::vector<Record>> Children(Collection collection,
                                               std::string_view parent) override;
  absl::StatusOr<std::vector<StoredEvent>> Events(std::string_view stream, int64_t after,
                                                  int limit) override;
  absl::Status Beat(std::string_view key, std::string_view value) override;
  absl::StatusOr<std::vector<Heartbeat>> Heartbeats() override;
  absl::Status EndBeat(std::string_view key) override;

 private:
  SqliteStore(std::function<WallTime()> now, std::unique_ptr<SqliteDatabase> database,
              SqliteTables tables, std::vector<Heartbeat> heartbeats);

  WallTime Now() const;
  // Commits the transaction so that, if it fails, its writes do not come back.
  absl::Status CommitOrRepair(SqliteTransaction& transaction) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::function<WallTime()> now_;
  engine::Mutex mutex_;
  const std::unique_ptr<SqliteDatabase> database_ ABSL_PT_GUARDED_BY(mutex_);
  SqliteTables tables_ ABSL_GUARDED_BY(mutex_);
  HeartbeatBook heartbeats_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_STORE_SQLITE_STORE_H_
