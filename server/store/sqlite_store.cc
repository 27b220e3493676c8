#include "server/store/sqlite_store.h"

#include <chrono>
#include <utility>

#include "engine/base/status.h"
#include "server/errors.h"
#include "server/store/schema.h"

namespace whipsnake::server {
namespace {

// Sets what SQLite keeps for each connection, and the mode of the file.
absl::Status Configure(SqliteDatabase& database) {
  // The first two find damage earlier. Temporary data are in memory, so that no other file can
  // fail.
  RETURN_IF_ERROR(database.Execute(
      "PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY"));
  ASSIGN_OR_RETURN(const std::string mode, database.QueryText("PRAGMA journal_mode = WAL"));
  if (mode != "wal" && mode != "memory") {
    return database.Error(absl::StatusCode::kFailedPrecondition,
                          absl::StrCat("journal_mode ", mode,
                                       " seen, expected wal: the file system does not support it"));
  }
  return database.Execute("PRAGMA synchronous = FULL");
}

absl::Status CheckIntegrity(SqliteDatabase& database) {
  ASSIGN_OR_RETURN(const std::string found, database.QueryText("PRAGMA integrity_check(1)"));
  if (found == "ok") return absl::OkStatus();
  return database.Error(absl::StatusCode::kDataLoss, "the database is damaged: " + found);
}

// Commits a durable transaction that changes nothing. In the log it takes the place of one that
// failed.
absl::Status CommitNothing(SqliteDatabase& database) {
  ASSIGN_OR_RETURN(const int64_t version, database.QueryInteger("PRAGMA user_version"));
  SqliteTransaction transaction(database);
  RETURN_IF_ERROR(transaction.Begin());
  RETURN_IF_ERROR(database.Execute(absl::StrCat("PRAGMA user_version = ", version)));
  return transaction.Commit();
}

// Moves what a store that was not closed has left in the log into the database, and begins the log
// anew. If the system failed to sync a part of the log, that part can be read but may never reach
// the disk, and commits after it would be lost with it.
absl::Status RenewLog(SqliteDatabase& database) {
  ASSIGN_OR_RETURN(SqliteStatement checkpoint, database.Prepare("PRAGMA wal_checkpoint(RESTART)"));
  int64_t log_pages = 0;
  {
    SqliteRows rows = checkpoint.Query();
    RETURN_IF_ERROR(rows.Next().status());
    log_pages = rows.Integer(1);
  }
  return log_pages > 0 ? CommitNothing(database) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(const std::string& path,
                                                               SqliteStoreOptions options) {
  ASSIGN_OR_RETURN(std::unique_ptr<SqliteDatabase> database,
                   SqliteDatabase::Open(path, options.sqlite));
  // A file of another program is not changed.
  RETURN_IF_ERROR(CheckSchema(*database, SchemaSteps()));
  RETURN_IF_ERROR(Configure(*database));
  RETURN_IF_ERROR(CheckIntegrity(*database));
  RETURN_IF_ERROR(RenewLog(*database));
  RETURN_IF_ERROR(MigrateSchema(*database, SchemaSteps()));
  ASSIGN_OR_RETURN(SqliteTables tables, SqliteTables::Prepare(*database));
  ASSIGN_OR_RETURN(std::vector<Heartbeat> heartbeats, tables.Heartbeats());
  return std::unique_ptr<SqliteStore>(new SqliteStore(std::move(options.now), std::move(database),
                                                      std::move(tables), std::move(heartbeats)));
}

SqliteStore::SqliteStore(std::function<WallTime()> now, std::unique_ptr<SqliteDatabase> database,
                         SqliteTables tables, std::vector<Heartbeat> heartbeats)
    : now_(std::move(now)),
      database_(std::move(database)),
      tables_(std::move(tables)),
      heartbeats_(std::move(heartbeats)) {}

// If the heartbeats cannot be saved, the database has those of the last commit.
SqliteStore::~SqliteStore() { Commit({}).IgnoreError(); }

WallTime SqliteStore::Now() const { return std::chrono::floor<std::chrono::milliseconds>(now_()); }

absl::StatusOr<Committed> SqliteStore::Commit(std::span<const Write> writes) {
  engine::MutexLock lock(mutex_);
  const WallTime now = Now();
  Committed committed;
  SqliteTransaction transaction(*database_);
  RETURN_IF_ERROR(transaction.Begin());
  for (const Write& write : writes) RETURN_IF_ERROR(tables_.Apply(write, now, committed));
  const HeartbeatBook::Unsaved heartbeats = heartbeats_.unsaved();
  RETURN_IF_ERROR(tables_.Save(heartbeats));
  RETURN_IF_ERROR(CommitOrRepair(transaction));
  heartbeats_.MarkSaved(heartbeats);
  return committed;
}

absl::Status SqliteStore::CommitOrRepair(SqliteTransaction& transaction) {
  const absl::Status status = transaction.Commit();
  // Without an error of the system, the mark of a complete transaction has not been written.
  if (status.ok() || !database_->io_failed()) return status;
  transaction.Rollback();
  const absl::Status repaired = CommitNothing(*database_);
  if (repaired.ok()) return status;
  return WithReason(
      engine::WithContext(status, "these writes may come back when the database is next opened"),
      "COMMIT_IN_DOUBT");
}

absl::StatusOr<Record> SqliteStore::Get(Collection collection, std::string_view key) {
  engine::MutexLock lock(mutex_);
  return tables_.Get(collection, key);
}

absl::StatusOr<std::vector<Record>> SqliteStore::List(Collection collection, int64_t after,
                                                      int limit) {
  engine::MutexLock lock(mutex_);
  return tables_.List(collection, after, limit);
}

absl::StatusOr<std::vector<Record>> SqliteStore::Children(Collection collection,
                                                          std::string_view parent) {
  engine::MutexLock lock(mutex_);
  return tables_.Children(collection, parent);
}

absl::StatusOr<std::vector<StoredEvent>> SqliteStore::Events(std::string_view stream, int64_t after,
                                                             int limit) {
  engine::MutexLock lock(mutex_);
  return tables_.Events(stream, after, limit);
}

absl::Status SqliteStore::Beat(std::string_view key, std::string_view value) {
  heartbeats_.Beat({.key = std::string(key), .time = Now(), .value = std::string(value)});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Heartbeat>> SqliteStore::Heartbeats() { return heartbeats_.All(); }

absl::Status SqliteStore::EndBeat(std::string_view key) {
  heartbeats_.End(key);
  return absl::OkStatus();
}

}  // namespace whipsnake::server
