// The tables of the store's database, and how a database of an older version gets them.
#ifndef WHIPSNAKE_SERVER_STORE_SCHEMA_H_
#define WHIPSNAKE_SERVER_STORE_SCHEMA_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "server/store/sqlite_database.h"

namespace whipsnake::server {

// Marks a file as a database of this program: "WHSP".
inline constexpr int64_t kApplicationId = 0x57485350;

// Statements that change the tables of one version to those of the next. Version 0 has no tables.
using SchemaStep = std::string_view;

// All steps in their order. A released step is never changed; a change of the tables is a new step.
std::span<const SchemaStep> SchemaSteps();

// Checks that the database is empty or one of this program, of a version that has no more than
// these steps. FAILED_PRECONDITION if not, DATA_LOSS if the file is not a database.
absl::Status CheckSchema(SqliteDatabase& database, std::span<const SchemaStep> steps);

// Applies the steps that the database lacks, each in a transaction of its own, and counts them in
// its user_version. After an error the database is of the version before the step that failed.
absl::Status MigrateSchema(SqliteDatabase& database, std::span<const SchemaStep> steps);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_STORE_SCHEMA_H_
