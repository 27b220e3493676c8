#include "server/store/sqlite_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "tests/server/store_conformance.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

// An empty directory that is removed on destruction.
class Directory {
 public:
  Directory() {
    std::string name = (fs::temp_directory_path() / "sqlite_store_XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { fs::remove_all(path_); }

  std::string File(std::string_view name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

class FileBackend final : public StoreBackend {
 public:
  absl::StatusOr<std::unique_ptr<Store>> Open() override {
    return SqliteStore::Open(directory_.File("store.db"),
                             {.sqlite = {}, .now = clock().function()});
  }

 private:
  Directory directory_;
};

class MemoryBackend final : public StoreBackend {
 public:
  absl::StatusOr<std::unique_ptr<Store>> Open() override {
    return SqliteStore::Open(":memory:", {.sqlite = {}, .now = clock().function()});
  }
  bool persists() const override { return false; }
};

INSTANTIATE_TEST_SUITE_P(
    Sqlite, StoreConformance,
    testing::Values(Backend{"File", [] { return std::make_unique<FileBackend>(); }},
                    Backend{"Memory", [] { return std::make_unique<MemoryBackend>(); }}),
    [](const auto& instance) { return instance.param.name; });

class SqliteStoreTest : public testing::Test {
 protected:
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(const std::string& path) {
    return SqliteStore::Open(path, {.sqlite = {.vfs = "", .busy_timeout = milliseconds(1)}});
  }
  static absl::Status Create(Store& store, const std::string& key) {
    return store.Commit(std::vector<Write>{CreateRecord{Collection::kJobs, key, "", ""}}).status();
  }
  // Opens the file and expects this error, which names the file.
  void ExpectError(absl::StatusCode code, const std::string& text) {
    const absl::Status status = Open(path_).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()),
                testing::AllOf(HasSubstr("store.db"), HasSubstr(text)));
    EXPECT_THAT(engine::ClientMessage(status), Not(HasSubstr(directory_.File(""))));
  }
  // Executes SQL in the file.
  void Execute(const std::string& sql) {
    const auto database = SqliteDatabase::Open(path_, {});
    ASSERT_TRUE(database.ok()) << database.status();
    ASSERT_TRUE((*database)->Execute(sql).ok());
  }
  void WriteFile(std::string_view bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }
  std::string ReadFile() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  Directory directory_;
  const std::string path_ = directory_.File("store.db");
};

TEST_F(SqliteStoreTest, AFileThatIsNoDatabaseIsRefusedAndKept) {
  const std::string text(5000, 't');
  WriteFile(text);
  ExpectError(absl::StatusCode::kDataLoss, "file is not a database");
  EXPECT_EQ(ReadFile(), text);
}

TEST_F(SqliteStoreTest, ADatabaseOfAnotherProgramIsRefusedAndKept) {
  Execute("CREATE TABLE theirs (x)");
  const std::string before = ReadFile();
  ExpectError(absl::StatusCode::kFailedPrecondition, "application_id 0 seen");
  Execute("PRAGMA application_id = 77");
  ExpectError(absl::StatusCode::kFailedPrecondition, "application_id 77 seen");
  Execute("PRAGMA application_id = 0");
  EXPECT_EQ(ReadFile().size(), before.size());
}

TEST_F(SqliteStoreTest, ANewerVersionIsRefused) {
  ASSERT_TRUE(Open(path_).ok());
  Execute("PRAGMA user_version = 1000");
  ExpectError(absl::StatusCode::kFailedPrecondition, "version 1000 seen");
}

TEST_F(SqliteStoreTest, APathThatCannotBeOpenedIsRefused) {
  fs::create_directory(path_);
  ExpectError(absl::StatusCode::kFailedPrecondition, "unable to open database file");
  EXPECT_EQ(Open(directory_.File("missing/store.db")).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(SqliteStoreTest, AnEmptyFileBecomesAStore) {
  WriteFile("");
  EXPECT_TRUE(Open(path_).ok());
}

TEST_F(SqliteStoreTest, ALockOfAnotherConnectionIsUnavailable) {
  const auto store = Open(path_);
  ASSERT_TRUE(store.ok()) << store.status();
  const auto other = SqliteDatabase::Open(path_, {});
  ASSERT_TRUE(other.ok()) << other.status();
  ASSERT_TRUE((*other)->Execute("BEGIN IMMEDIATE").ok());
  EXPECT_EQ(Create(**store, "a").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ((*store)->Get(Collection::kJobs, "a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE((*store)->Beat("a", "").ok());
  ASSERT_TRUE((*other)->Execute("ROLLBACK").ok());
  EXPECT_TRUE(Create(**store, "a").ok());
}

TEST_F(SqliteStoreTest, OthersCanReadWhileTheStoreIsOpen) {
  const auto store = Open(path_);
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_TRUE(Create(**store, "a").ok());
  const auto other = SqliteDatabase::Open(path_, {});
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(*(*other)->QueryText("SELECT collection || ' ' || key FROM records"), "jobs a");
}

TEST_F(SqliteStoreTest, ARowWithAWrongChecksumIsDataLoss) {
  {
    const auto store = Open(path_);
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE((*store)
                    ->Commit(std::vector<Write>{CreateRecord{Collection::kJobs, "a", "p", "value"},
                                                CreateRecord{Collection::kJobs, "b", "", "value"},
                                                AppendEvent{"s", "value"}})
                    .ok());
  }
  Execute(
      "UPDATE records SET value = 'other' WHERE key = 'a'; UPDATE events SET time_ms = 1 << 62");
  const auto store = Open(path_);
  ASSERT_TRUE(store.ok()) << store.status();
  const absl::Status status = (*store)->Get(Collection::kJobs, "a").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("jobs \"a\""));
  EXPECT_TRUE(absl::IsDataLoss((*store)->List(Collection::kJobs, 0, 10).status()));
  EXPECT_TRUE(absl::IsDataLoss((*store)->Children(Collection::kJobs, "p").status()));
  EXPECT_TRUE(absl::IsDataLoss((*store)->Events("s", 0, 10).status()));
  EXPECT_TRUE((*store)->Get(Collection::kJobs, "b").ok());
}

}  // namespace
}  // namespace whipsnake::server
