#include "server/store/schema.h"

#include <array>
#include <string>

#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

// Each index also has the number of the row, in whose order its rows are read. AUTOINCREMENT: a
// number is not used again. Checksums are those of SqliteTables.
constexpr std::string_view kRecordsAndEvents = R"sql(
CREATE TABLE records (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  collection TEXT NOT NULL,
  key TEXT NOT NULL,
  parent TEXT NOT NULL,
  revision INTEGER NOT NULL,
  create_ms INTEGER NOT NULL,
  update_ms INTEGER NOT NULL,
  value TEXT NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX records_by_key ON records (collection, key);
CREATE INDEX records_by_number ON records (collection);
CREATE INDEX records_by_parent ON records (collection, parent);
CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  stream TEXT NOT NULL,
  time_ms INTEGER NOT NULL,
  value TEXT NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX events_by_stream ON events (stream);
CREATE TABLE heartbeats (
  key TEXT PRIMARY KEY,
  time_ms INTEGER NOT NULL,
  value TEXT NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;
)sql";

constexpr std::array<SchemaStep, 1> kSteps = {kRecordsAndEvents};

absl::StatusOr<int64_t> VersionOf(SqliteDatabase& database) {
  return database.QueryInteger("PRAGMA user_version");
}

absl::Status ApplyStep(SqliteDatabase& database, SchemaStep step, int64_t version) {
  SqliteTransaction transaction(database);
  RETURN_IF_ERROR(transaction.Begin());
  RETURN_IF_ERROR(database.Execute(std::string(step)));
  RETURN_IF_ERROR(database.Execute(absl::StrCat("PRAGMA application_id = ", kApplicationId,
                                                "; PRAGMA user_version = ", version)));
  return transaction.Commit();
}

}  // namespace

std::span<const SchemaStep> SchemaSteps() { return kSteps; }

absl::Status CheckSchema(SqliteDatabase& database, std::span<const SchemaStep> steps) {
  ASSIGN_OR_RETURN(const int64_t id, database.QueryInteger("PRAGMA application_id"));
  ASSIGN_OR_RETURN(const int64_t version, VersionOf(database));
  ASSIGN_OR_RETURN(const int64_t objects,
                   database.QueryInteger("SELECT count(*) FROM sqlite_master"));
  const bool is_empty = id == 0 && version == 0 && objects == 0;
  if (id != kApplicationId && !is_empty) {
    return database.Error(absl::StatusCode::kFailedPrecondition,
                          absl::StrCat("a database with application_id ", id, " seen, expected ",
                                       kApplicationId, ", that of this program"));
  }
  if (version < 0 || version > static_cast<int64_t>(steps.size())) {
    return database.Error(absl::StatusCode::kFailedPrecondition,
                          absl::StrCat("a database of version ", version, " seen, expected 0 to ",
                                       steps.size(), "; a newer program may have written it"));
  }
  return absl::OkStatus();
}

absl::Status MigrateSchema(SqliteDatabase& database, std::span<const SchemaStep> steps) {
  RETURN_IF_ERROR(CheckSchema(database, steps));
  ASSIGN_OR_RETURN(int64_t version, VersionOf(database));
  for (const SchemaStep step : steps.subspan(version)) {
    ++version;
    const absl::Status status = ApplyStep(database, step, version);
    if (!status.ok()) {
      return engine::WithContext(
          status, absl::StrCat("cannot change the tables to those of version ", version));
    }
  }
  return absl::OkStatus();
}

}  // namespace whipsnake::server
