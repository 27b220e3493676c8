// A connection to a SQLite database and its prepared statements. Turns SQLite's codes into
// absl::Status.
#ifndef WHIPSNAKE_SERVER_STORE_SQLITE_DATABASE_H_
#define WHIPSNAKE_SERVER_STORE_SQLITE_DATABASE_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct sqlite3;
struct sqlite3_stmt;

namespace whipsnake::server {

class SqliteDatabase;

// The rows of one execution of a statement. Resets the statement on destruction.
class SqliteRows {
 public:
  // `values` are the statement's parameters: integers, and texts that outlive the rows.
  template <typename... Values>
  SqliteRows(SqliteDatabase& database, sqlite3_stmt* statement, const Values&... values)
      : database_(database), statement_(statement) {
    int index = 0;
    (Bind(++index, values), ...);
  }
  SqliteRows(const SqliteRows&) = delete;
  SqliteRows& operator=(const SqliteRows&) = delete;
  ~SqliteRows();

  // Proceeds to the next row. False if there is none.
  absl::StatusOr<bool> Next();
  // Proceeds to the end.
  absl::Status Finish();

  // Column `column` of this row, counted from 0. A value of another type is converted.
  int64_t Integer(int column) const;
  std::string Text(int column) const;

 private:
  void Bind(int index, int64_t value);
  void Bind(int index, std::string_view value);

  SqliteDatabase& database_;
  sqlite3_stmt* const statement_;
  int bind_error_ = 0;
};

// A prepared statement. Movable. The database must outlive it. One execution at a time.
class SqliteStatement {
 public:
  SqliteStatement() = default;  // can only be assigned to
  SqliteStatement(SqliteDatabase& database, sqlite3_stmt* statement)
      : database_(&database), statement_(statement) {}

  // Executes the statement with these parameters, as in SqliteRows.
  template <typename... Values>
  SqliteRows Query(const Values&... values) {
    return SqliteRows(*database_, statement_.get(), values...);
  }
  // The same for a statement whose rows, if it has any, are not needed.
  template <typename... Values>
  absl::Status Execute(const Values&... values) {
    return Query(values...).Finish();
  }

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };

  SqliteDatabase* database_ = nullptr;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

struct SqliteOptions {
  std::string vfs;  // the name of SQLite's interface to files; "": the default
  // How long a call waits if another connection holds a lock.
  std::chrono::milliseconds busy_timeout = std::chrono::seconds(5);
};

// Not thread-safe.
//
// Errors: RESOURCE_EXHAUSTED if the disk or the memory is full, UNAVAILABLE if another connection
// keeps a lock for longer than the timeout, DATA_LOSS if the file is damaged or not a database,
// FAILED_PRECONDITION if it cannot be opened or written, INVALID_ARGUMENT if a text is larger than
// SQLite permits, otherwise INTERNAL. Messages name the file and include SQLite's own.
class SqliteDatabase {
 public:
  // Opens the file, or creates an empty one. ":memory:" is a database without a file. The contents
  // of a file are not read yet.
  static absl::StatusOr<std::unique_ptr<SqliteDatabase>> Open(const std::string& path,
                                                              const SqliteOptions& options);
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;
  ~SqliteDatabase();

  const std::string& path() const { return path_; }

  // Executes statements that are separated by semicolons, without parameters.
  absl::Status Execute(const std::string& sql);
  // Returns the first column of the first row, such as the value of a pragma; "" if there is none.
  absl::StatusOr<std::string> QueryText(std::string_view sql);
  absl::StatusOr<int64_t> QueryInteger(std::string_view sql);  // 0 if there is none
  absl::StatusOr<SqliteStatement> Prepare(std::string_view sql);

  int64_t last_inserted() const;  // the number of the row that was inserted last
  bool in_transaction() const;
  // Whether the last call failed because the system could not read, write or sync a file.
  bool io_failed() const;

  // The error of a call that returned `code`, which is one of SQLite's extended codes.
  absl::Status Error(int code) const;
  // The same with another code and `text` in place of SQLite's message.
  absl::Status Error(absl::StatusCode code, std::string_view text) const;

 private:
  SqliteDatabase(std::string path, sqlite3* database)
      : path_(std::move(path)), database_(database) {}

  const std::string path_;
  sqlite3* const database_;
};

// A transaction that may write. Without a successful Commit, its destruction undoes it.
class SqliteTransaction {
 public:
  explicit SqliteTransaction(SqliteDatabase& database) : database_(database) {}
  SqliteTransaction(const SqliteTransaction&) = delete;
  SqliteTransaction& operator=(const SqliteTransaction&) = delete;
  ~SqliteTransaction() { Rollback(); }

  // Takes the lock for writing.
  absl::Status Begin();
  absl::Status Commit();
  // Undoes the transaction, unless it has ended.
  void Rollback();

 private:
  SqliteDatabase& database_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_STORE_SQLITE_DATABASE_H_
