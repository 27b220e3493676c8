#include "server/store/sqlite_database.h"

#include <sqlite3.h>

#include <cstring>

#include "engine/base/disk_full.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

bool IsDiskFull(int code) {
  // SHMSIZE: the file that readers and writers share cannot grow.
  return code == SQLITE_IOERR_SHMSIZE || (code & 0xff) == SQLITE_FULL;
}

absl::StatusCode StatusCodeOf(int code) {
  switch (code & 0xff) {
    case SQLITE_NOMEM:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:  // many retries of a lock
      return absl::StatusCode::kUnavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return absl::StatusCode::kFailedPrecondition;
    case SQLITE_TOOBIG:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

SqliteRows::~SqliteRows() {
  // The code is that of the last Next.
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

void SqliteRows::Bind(int index, int64_t value) {
  const int code = sqlite3_bind_int64(statement_, index, value);
  if (code != SQLITE_OK) bind_error_ = code;
}

void SqliteRows::Bind(int index, std::string_view value) {
  // A null pointer would be a null value.
  const int code =
      sqlite3_bind_text64(statement_, index, value.data() == nullptr ? "" : value.data(),
                          value.size(), SQLITE_STATIC, SQLITE_UTF8);
  if (code != SQLITE_OK) bind_error_ = code;
}

absl::StatusOr<bool> SqliteRows::Next() {
  if (bind_error_ != SQLITE_OK) return database_.Error(bind_error_);
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return database_.Error(code);
}

absl::Status SqliteRows::Finish() {
  while (true) {
    ASSIGN_OR_RETURN(const bool more, Next());
    if (!more) return absl::OkStatus();
  }
}

int64_t SqliteRows::Integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::string SqliteRows::Text(int column) const {
  // Not sqlite3_column_text, which may allocate memory for a terminating zero.
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return bytes == nullptr ? std::string() : std::string(static_cast<const char*>(bytes), size);
}

void SqliteStatement::Finalize::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

absl::StatusOr<std::unique_ptr<SqliteDatabase>> SqliteDatabase::Open(const std::string& path,
                                                                     const SqliteOptions& options) {
  sqlite3* handle = nullptr;
  const int flags =
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &handle, flags,
                                   options.vfs.empty() ? nullptr : options.vfs.c_str());
  // There is a handle, which knows the message, even if the file could not be opened.
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(path, handle));
  if (code != SQLITE_OK) {
    return database->Error(StatusCodeOf(code),
                           absl::StrCat("SQLite says: ", sqlite3_errmsg(handle), ": ",
                                        std::strerror(sqlite3_system_errno(handle))));
  }
  sqlite3_busy_timeout(handle, static_cast<int>(options.busy_timeout.count()));
  if (sqlite3_db_readonly(handle, "main") == 1) {
    return database->Error(absl::StatusCode::kFailedPrecondition,
                           "the file is read-only, expected one that can be written");
  }
  return database;
}

SqliteDatabase::~SqliteDatabase() { sqlite3_close_v2(database_); }

absl::Status SqliteDatabase::Execute(const std::string& sql) {
  const int code = sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code);
}

absl::StatusOr<std::string> SqliteDatabase::QueryText(std::string_view sql) {
  ASSIGN_OR_RETURN(SqliteStatement statement, Prepare(sql));
  SqliteRows rows = statement.Query();
  ASSIGN_OR_RETURN(const bool found, rows.Next());
  return found ? rows.Text(0) : std::string();
}

absl::StatusOr<int64_t> SqliteDatabase::QueryInteger(std::string_view sql) {
  ASSIGN_OR_RETURN(SqliteStatement statement, Prepare(sql));
  SqliteRows rows = statement.Query();
  ASSIGN_OR_RETURN(const bool found, rows.Next());
  return found ? rows.Integer(0) : 0;
}

absl::StatusOr<SqliteStatement> SqliteDatabase::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(database_, sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return Error(code);
  return SqliteStatement(*this, statement);
}

int64_t SqliteDatabase::last_inserted() const { return sqlite3_last_insert_rowid(database_); }

bool SqliteDatabase::in_transaction() const { return sqlite3_get_autocommit(database_) == 0; }

bool SqliteDatabase::io_failed() const {
  return (sqlite3_extended_errcode(database_) & 0xff) == SQLITE_IOERR;
}

absl::Status SqliteDatabase::Error(int code) const {
  const std::string text =
      absl::StrCat("SQLite says: ", sqlite3_errmsg(database_), " (code ", code, ")");
  if (IsDiskFull(code)) return engine::WithPath(engine::DiskFullError(text), path_);
  return Error(StatusCodeOf(code), text);
}

absl::Status SqliteDatabase::Error(absl::StatusCode code, std::string_view text) const {
  return engine::WithPath(absl::Status(code, engine::ToAbsl(text)), path_);
}

absl::Status SqliteTransaction::Begin() { return database_.Execute("BEGIN IMMEDIATE"); }

absl::Status SqliteTransaction::Commit() { return database_.Execute("COMMIT"); }

void SqliteTransaction::Rollback() {
  // After some errors SQLite has undone the transaction itself.
  if (database_.in_transaction()) database_.Execute("ROLLBACK").IgnoreError();
}

}  // namespace whipsnake::server
