#include "server/store/sqlite_tables.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "engine/base/digest.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

using std::chrono::milliseconds;

int64_t ToMilliseconds(WallTime time) {
  return std::chrono::duration_cast<milliseconds>(time.time_since_epoch()).count();
}

WallTime ToTime(int64_t value) { return WallTime(milliseconds(value)); }

// A checksum of the fields of a row, added in a fixed order.
class RowChecksum {
 public:
  RowChecksum& Add(int64_t value) {
    digest_.Add(std::as_bytes(std::span(&value, 1)));
    return *this;
  }
  RowChecksum& Add(std::string_view text) {
    Add(static_cast<int64_t>(text.size()));
    digest_.Add(text);
    return *this;
  }
  int64_t value() const {
    const engine::Digest::Value digest = digest_.value();
    int64_t value = 0;
    std::memcpy(&value, digest.data(), sizeof(value));
    return value;
  }

 private:
  engine::Digest digest_;
};

// The number is not in the checksum, because it is not known before the row is inserted. The check
// of the whole file compares it with the indexes.
int64_t ChecksumOf(Collection collection, const Record& record, int64_t create_ms,
                   int64_t update_ms) {
  return RowChecksum()
      .Add(Name(collection))
      .Add(record.key)
      .Add(record.parent)
      .Add(record.revision)
      .Add(create_ms)
      .Add(update_ms)
      .Add(record.value)
      .value();
}

int64_t ChecksumOf(Collection collection, const Record& record) {
  return ChecksumOf(collection, record, ToMilliseconds(record.create_time),
                    ToMilliseconds(record.update_time));
}

int64_t EventChecksum(std::string_view stream, int64_t time_ms, std::string_view value) {
  return RowChecksum().Add(stream).Add(time_ms).Add(value).value();
}

absl::Status Damaged(const SqliteDatabase& database, std::string_view kind, std::string_view name) {
  return database.Error(
      absl::StatusCode::kDataLoss,
      absl::StrCat("the row of ", engine::ToAbsl(kind), " ", engine::Quoted(name),
                   " is damaged: it does not have the checksum that is stored with it"));
}

std::string Described(Collection collection, std::string_view key) {
  return absl::StrCat(engine::ToAbsl(Name(collection)), " ", engine::Quoted(key));
}

absl::StatusOr<Record> ReadRecord(const SqliteDatabase& database, Collection collection,
                                  const SqliteRows& row) {
  Record record{.key = row.Text(1),
                .parent = row.Text(2),
                .number = row.Integer(0),
                .revision = row.Integer(3),
                .value = row.Text(6),
                .create_time = {},
                .update_time = {}};
  const int64_t create_ms = row.Integer(4);
  const int64_t update_ms = row.Integer(5);
  // The times are converted after the check, because a damaged one may be out of range.
  if (row.Integer(7) != ChecksumOf(collection, record, create_ms, update_ms)) {
    return Damaged(database, Name(collection), record.key);
  }
  record.create_time = ToTime(create_ms);
  record.update_time = ToTime(update_ms);
  return record;
}

absl::StatusOr<StoredEvent> ReadEvent(const SqliteDatabase& database, const SqliteRows& row) {
  StoredEvent event{.id = row.Integer(0), .stream = row.Text(1), .time = {}, .value = row.Text(3)};
  const int64_t time_ms = row.Integer(2);
  if (row.Integer(4) != EventChecksum(event.stream, time_ms, event.value)) {
    return Damaged(database, "events", event.stream);
  }
  event.time = ToTime(time_ms);
  return event;
}

absl::StatusOr<Heartbeat> ReadHeartbeat(const SqliteDatabase& database, const SqliteRows& row) {
  Heartbeat beat{.key = row.Text(0), .time = {}, .value = row.Text(2)};
  const int64_t time_ms = row.Integer(1);
  if (row.Integer(3) != EventChecksum(beat.key, time_ms, beat.value)) {
    return Damaged(database, "heartbeats", beat.key);
  }
  beat.time = ToTime(time_ms);
  return beat;
}

// Returns what `read` makes of each row.
template <typename Row>
absl::StatusOr<std::vector<Row>> ReadAll(SqliteRows& rows,
                                         absl::FunctionRef<absl::StatusOr<Row>()> read) {
  std::vector<Row> all;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) return all;
    ASSIGN_OR_RETURN(Row row, read());
    all.push_back(std::move(row));
  }
}

}  // namespace

absl::StatusOr<SqliteTables> SqliteTables::Prepare(SqliteDatabase& database) {
  SqliteTables tables(database);
  const std::string record_columns =
      "SELECT number, key, parent, revision, create_ms, update_ms, value, checksum FROM records ";
  const std::pair<SqliteStatement*, std::string> statements[] = {
      {&tables.get_record_, record_columns + "WHERE collection = ? AND key = ?"},
      {&tables.list_records_,
       record_columns + "WHERE collection = ? AND number > ? ORDER BY number LIMIT ?"},
      {&tables.list_children_,
       record_columns + "WHERE collection = ? AND parent = ? ORDER BY number"},
      {&tables.create_record_,
       "INSERT INTO records (collection, key, parent, revision, create_ms, update_ms, value,"
       " checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"},
      {&tables.update_record_,
       "UPDATE records SET revision = ?, update_ms = ?, value = ?, checksum = ? WHERE number = ?"},
      {&tables.delete_record_, "DELETE FROM records WHERE number = ?"},
      {&tables.delete_children_, "DELETE FROM records WHERE collection = ? AND parent = ?"},
      {&tables.list_events_,
       "SELECT id, stream, time_ms, value, checksum FROM events"
       " WHERE stream = ? AND id > ? ORDER BY id LIMIT ?"},
      {&tables.append_event_,
       "INSERT INTO events (stream, time_ms, value, checksum) VALUES (?, ?, ?, ?)"},
      {&tables.delete_events_, "DELETE FROM events WHERE stream = ?"},
      {&tables.list_heartbeats_, "SELECT key, time_ms, value, checksum FROM heartbeats"},
      {&tables.save_heartbeat_,
       "INSERT OR REPLACE INTO heartbeats (key, time_ms, value, checksum) VALUES (?, ?, ?, ?)"},
      {&tables.delete_heartbeat_, "DELETE FROM heartbeats WHERE key = ?"},
  };
  for (const auto& [statement, sql] : statements) {
    ASSIGN_OR_RETURN(*statement, database.Prepare(sql));
  }
  return tables;
}

absl::Status SqliteTables::Apply(const Write& write, WallTime now, Committed& committed) {
  return std::visit([&](const auto& part) { return Apply(part, now, committed); }, write);
}

absl::Status SqliteTables::Apply(const CreateRecord& write, WallTime now, Committed& committed) {
  ASSIGN_OR_RETURN(const std::optional<Record> existing, Find(write.collection, write.key));
  if (existing.has_value()) {
    return absl::AlreadyExistsError(
        absl::StrCat(Described(write.collection, write.key), " exists already"));
  }
  Record record{.key = write.key,
                .parent = write.parent,
                .revision = 1,
                .value = write.value,
                .create_time = now,
                .update_time = now};
  const int64_t time_ms = ToMilliseconds(now);
  RETURN_IF_ERROR(create_record_.Execute(Name(write.collection), record.key, record.parent,
                                         record.revision, time_ms, time_ms, record.value,
                                         ChecksumOf(write.collection, record)));
  record.number = database_->last_inserted();
  committed.records.push_back(std::move(record));
  return absl::OkStatus();
}

absl::Status SqliteTables::Apply(const UpdateRecord& write, WallTime now, Committed& committed) {
  ASSIGN_OR_RETURN(Record record, GetRevision(write.collection, write.key, write.revision));
  ++record.revision;
  record.update_time = now;
  record.value = write.value;
  RETURN_IF_ERROR(update_record_.Execute(record.revision, ToMilliseconds(now), record.value,
                                         ChecksumOf(write.collection, record), record.number));
  committed.records.push_back(std::move(record));
  return absl::OkStatus();
}

absl::Status SqliteTables::Apply(const DeleteRecord& write, WallTime, Committed&) {
  ASSIGN_OR_RETURN(const Record record, GetRevision(write.collection, write.key, write.revision));
  return delete_record_.Execute(record.number);
}

absl::Status SqliteTables::Apply(const DeleteChildren& write, WallTime, Committed&) {
  return delete_children_.Execute(Name(write.collection), write.parent);
}

absl::Status SqliteTables::Apply(const AppendEvent& write, WallTime now, Committed& committed) {
  const int64_t time_ms = ToMilliseconds(now);
  RETURN_IF_ERROR(append_event_.Execute(write.stream, time_ms, write.value,
                                        EventChecksum(write.stream, time_ms, write.value)));
  committed.events.push_back({.id = database_->last_inserted(),
                              .stream = write.stream,
                              .time = now,
                              .value = write.value});
  return absl::OkStatus();
}

absl::Status SqliteTables::Apply(const DeleteEvents& write, WallTime, Committed&) {
  return delete_events_.Execute(write.stream);
}

absl::Status SqliteTables::Save(const HeartbeatBook::Unsaved& heartbeats) {
  for (const Heartbeat& beat : heartbeats.beats) {
    const int64_t time_ms = ToMilliseconds(beat.time);
    RETURN_IF_ERROR(save_heartbeat_.Execute(beat.key, time_ms, beat.value,
                                            EventChecksum(beat.key, time_ms, beat.value)));
  }
  for (const std::string& key : heartbeats.ended) {
    RETURN_IF_ERROR(delete_heartbeat_.Execute(key));
  }
  return absl::OkStatus();
}

absl::StatusOr<Record> SqliteTables::Get(Collection collection, std::string_view key) {
  ASSIGN_OR_RETURN(std::optional<Record> record, Find(collection, key));
  if (!record.has_value()) {
    return absl::NotFoundError(absl::StrCat(Described(collection, key), " does not exist"));
  }
  return *std::move(record);
}

absl::StatusOr<std::vector<Record>> SqliteTables::List(Collection collection, int64_t after,
                                                       int limit) {
  // SQLite takes a negative limit for none.
  SqliteRows rows =
      list_records_.Query(Name(collection), after, static_cast<int64_t>(std::max(limit, 0)));
  return ReadAll<Record>(rows, [&] { return ReadRecord(*database_, collection, rows); });
}

absl::StatusOr<std::vector<Record>> SqliteTables::Children(Collection collection,
                                                           std::string_view parent) {
  SqliteRows rows = list_children_.Query(Name(collection), parent);
  return ReadAll<Record>(rows, [&] { return ReadRecord(*database_, collection, rows); });
}

absl::StatusOr<std::vector<StoredEvent>> SqliteTables::Events(std::string_view stream,
                                                              int64_t after, int limit) {
  SqliteRows rows = list_events_.Query(stream, after, static_cast<int64_t>(std::max(limit, 0)));
  return ReadAll<StoredEvent>(rows, [&] { return ReadEvent(*database_, rows); });
}

absl::StatusOr<std::vector<Heartbeat>> SqliteTables::Heartbeats() {
  SqliteRows rows = list_heartbeats_.Query();
  return ReadAll<Heartbeat>(rows, [&] { return ReadHeartbeat(*database_, rows); });
}

absl::StatusOr<std::optional<Record>> SqliteTables::Find(Collection collection,
                                                         std::string_view key) {
  SqliteRows rows = get_record_.Query(Name(collection), key);
  ASSIGN_OR_RETURN(const bool found, rows.Next());
  if (!found) return std::optional<Record>();
  return ReadRecord(*database_, collection, rows);
}

absl::StatusOr<Record> SqliteTables::GetRevision(Collection collection, std::string_view key,
                                                 int64_t revision) {
  ASSIGN_OR_RETURN(Record record, Get(collection, key));
  if (revision != 0 && revision != record.revision) {
    return absl::AbortedError(absl::StrCat(Described(collection, key), " has revision ",
                                           record.revision, ", expected ", revision));
  }
  return record;
}

}  // namespace whipsnake::server
