// The rows of the store's database: the statements that read and write them, and their checksums.
#ifndef WHIPSNAKE_SERVER_STORE_SQLITE_TABLES_H_
#define WHIPSNAKE_SERVER_STORE_SQLITE_TABLES_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/heartbeats.h"
#include "server/store/sqlite_database.h"
#include "server/store/store.h"

namespace whipsnake::server {

// Not thread-safe. Errors are those of Store and of SqliteDatabase; DATA_LOSS for a row whose
// checksum is wrong. The functions that write are called in a transaction, which the caller has to
// undo after an error.
class SqliteTables {
 public:
  // `database` must have the tables, and outlive this.
  static absl::StatusOr<SqliteTables> Prepare(SqliteDatabase& database);

  absl::Status Apply(const Write& write, WallTime now, Committed& committed);
  absl::Status Save(const HeartbeatBook::Unsaved& heartbeats);

  absl::StatusOr<Record> Get(Collection collection, std::string_view key);
  absl::StatusOr<std::vector<Record>> List(Collection collection, int64_t after, int limit);
  absl::StatusOr<std::vector<Record>> Children(Collection collection, std::string_view parent);
  absl::StatusOr<std::vector<StoredEvent>> Events(std::string_view stream, int64_t after,
                                                  int limit);
  absl::StatusOr<std::vector<Heartbeat>> Heartbeats();

 private:
  explicit SqliteTables(SqliteDatabase& database) : database_(&database) {}

  absl::Status Apply(const CreateRecord& write, WallTime now, Committed& committed);
  absl::Status Apply(const UpdateRecord& write, WallTime now, Committed& committed);
  absl::Status Apply(const DeleteRecord& write, WallTime now, Committed& committed);
  absl::Status Apply(const DeleteChildren& write, WallTime now, Committed& committed);
  absl::Status Apply(const AppendEvent& write, WallTime now, Committed& committed);
  absl::Status Apply(const DeleteEvents& write, WallTime now, Committed& committed);

  absl::StatusOr<std::optional<Record>> Find(Collection collection, std::string_view key);
  // Returns the record if it has this revision, or any if that is 0.
  absl::StatusOr<Record> GetRevision(Collection collection, std::string_view key, int64_t revision);

  SqliteDatabase* database_;
  SqliteStatement get_record_, list_records_, list_children_;
  SqliteStatement create_record_, update_record_, delete_record_, delete_children_;
  SqliteStatement list_events_, append_event_, delete_events_;
  SqliteStatement list_heartbeats_, save_heartbeat_, delete_heartbeat_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_STORE_SQLITE_TABLES_H_
