#include "server/store/sqlite_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tests/server/store_conformance.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

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

}  // namespace
}  // namespace whipsnake::server
