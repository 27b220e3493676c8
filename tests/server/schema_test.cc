#include "server/store/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "server/store/sqlite_store.h"
#include "tests/server/faulty_disk.h"
#include "tests/server/faulty_vfs.h"

namespace whipsnake::server {
namespace {

using testing::HasSubstr;

class SchemaTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<SqliteDatabase>> OpenDatabase() {
    return SqliteDatabase::Open("store.db", {.vfs = vfs_.name()});
  }
  absl::Status Migrate(const std::vector<SchemaStep>& steps) {
    const auto database = OpenDatabase();
    if (!database.ok()) return database.status();
    return MigrateSchema(**database, steps);
  }
  int64_t Query(const std::string& sql) {
    const auto database = OpenDatabase();
    EXPECT_TRUE(database.ok()) << database.status();
    const auto value = (*database)->QueryInteger(sql);
    EXPECT_TRUE(value.ok()) << value.status();
    return value.value_or(-1);
  }

  const std::vector<SchemaStep> steps_ = {
      "CREATE TABLE t (x); INSERT INTO t VALUES (1)", "UPDATE t SET x = x + 1",
      "ALTER TABLE t ADD COLUMN y DEFAULT 0; UPDATE t SET y = 10 * x"};
  FaultyDisk disk_{1};
  FaultyVfs vfs_{&disk_};
};

TEST_F(SchemaTest, EachOlderVersionGetsTheStepsThatItLacks) {
  for (size_t version = 0; version <= steps_.size(); ++version) {
    disk_ = FaultyDisk(1);
    ASSERT_TRUE(Migrate({steps_.begin(), steps_.begin() + version}).ok());
    EXPECT_EQ(Query("PRAGMA user_version"), version);
    const absl::Status status = Migrate(steps_);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(Query("PRAGMA user_version"), 3);
    EXPECT_EQ(Query("PRAGMA application_id"), kApplicationId);
    EXPECT_EQ(Query("SELECT y FROM t"), 20);
  }
}

TEST_F(SchemaTest, AStepThatFailsLeavesTheVersionBefore) {
  std::vector<SchemaStep> steps = steps_;
  steps[1] = "UPDATE t SET x = 7; UPDATE missing SET x = 8";
  const absl::Status status = Migrate(steps);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr("version 2"), HasSubstr("no such table: missing")));
  EXPECT_EQ(Query("PRAGMA user_version"), 1);
  EXPECT_EQ(Query("SELECT x FROM t"), 1);
  EXPECT_TRUE(Migrate(steps_).ok());
  EXPECT_EQ(Query("SELECT y FROM t"), 20);
}

TEST_F(SchemaTest, AStopOfTheMachineLeavesSomeVersion) {
  bool stopped = true;
  for (int64_t access = 1; stopped; ++access) {
    disk_ = FaultyDisk(access);
    disk_.Fail({.error = EIO, .first = access, .stops = true});
    Migrate(steps_).IgnoreError();
    stopped = disk_.EndFault();
    disk_.Stop();
    disk_.Start(FaultyDisk::Loss::kSome);
    const absl::Status status = Migrate(steps_);
    ASSERT_TRUE(status.ok()) << "access " << access << ": " << status;
    ASSERT_EQ(Query("SELECT y FROM t"), 20) << "access " << access;
  }
}

TEST_F(SchemaTest, ANewerVersionIsRefused) {
  ASSERT_TRUE(Migrate(steps_).ok());
  const absl::Status status = Migrate({steps_[0], steps_[1]});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("version 3 seen, expected 0 to 2"));
}

// For each version that was ever released.
TEST_F(SchemaTest, TheStoreOpensADatabaseOfEachOlderVersion) {
  const auto steps = SchemaSteps();
  for (size_t version = 0; version <= steps.size(); ++version) {
    disk_ = FaultyDisk(1);
    ASSERT_TRUE(Migrate({steps.begin(), steps.begin() + version}).ok());
    const auto store = SqliteStore::Open("store.db", {.sqlite = {.vfs = vfs_.name()}});
    EXPECT_TRUE(store.ok()) << store.status();
  }
}

}  // namespace
}  // namespace whipsnake::server
