#include "server/registry/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;

absl::Status Unusable(const std::string& path, int error) {
  return engine::InvalidField("--data", path,
                              absl::StrCat("a directory to write to: ", std::strerror(error)));
}

// Creates the directory with mode 0700, and missing parents with default permissions. `path` must
// not end with a slash, which would make the directory its own parent.
absl::Status MakePrivate(const std::string& path) {
  std::error_code error;
  fs::create_directories(engine::ParentOf(path), error);
  if (error) return Unusable(path, error.value());
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return Unusable(path, errno);
  return absl::OkStatus();
}

// Creates an empty file with mode 0600 if there is none.
absl::Status MakePrivateFile(const std::string& path) {
  const engine::Descriptor file(
      open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  return file.get() < 0 ? Unusable(path, errno) : absl::OkStatus();
}

absl::StatusOr<engine::Descriptor> Lock(const std::string& path) {
  const std::string file = path + "/lock";
  engine::Descriptor lock(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (lock.get() < 0) return Unusable(path, errno);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Unusable(path, errno);
    char owner[32] = {};
    if (pread(lock.get(), owner, sizeof(owner) - 1, 0) <= 0) std::strcpy(owner, "unknown");
    return absl::FailedPreconditionError(absl::StrCat("--data: ", path, " is in use by process ",
                                                      owner, ", expected a directory of its own"));
  }
  const std::string self = std::to_string(getpid());
  if (ftruncate(lock.get(), 0) != 0 ||
      pwrite(lock.get(), self.data(), self.size(), 0) != std::ssize(self)) {
    return Unusable(path, errno);
  }
  return lock;
}

// Returns FAILED_PRECONDITION if there are files that a store should tell of, and no store. An
// empty one would have them removed.
absl::Status CheckStoreIsThere(const std::string& path, const DataDirectory& data) {
  std::error_code error;
  if (fs::exists(data.store(), error)) return absl::OkStatus();
  for (const std::string& directory : {data.datasets(), data.jobs(), data.models()}) {
    std::error_code missing;
    if (!fs::exists(directory, missing) || fs::is_empty(directory, missing)) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "--data: ", path, " has files in ", fs::path(directory).filename().string(),
        ", but no store.sqlite, which says what they are; restore it, or remove these files"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DataDirectory> DataDirectory::Open(const std::string& path) {
  DataDirectory data;
  if (path.empty()) return data;
  RETURN_IF_ERROR(MakePrivate(engine::StripTrailingSlashes(path)));
  // Records name files by their paths, so a directory has one spelling only.
  std::error_code error;
  const std::string plain = fs::canonical(path, error).string();
  if (error) return Unusable(path, error.value());
  ASSIGN_OR_RETURN(data.lock_, Lock(plain));
  data.states_ = plain + "/states";
  data.datasets_ = plain + "/datasets";
  data.jobs_ = plain + "/jobs";
  data.models_ = plain + "/models";
  data.store_ = plain + "/store.sqlite";
  RETURN_IF_ERROR(CheckStoreIsThere(plain, data));
  for (const std::string& directory : {data.states_, data.datasets_, data.jobs_, data.models_}) {
    RETURN_IF_ERROR(MakePrivate(directory));
    // A directory made by an older version may be accessible to others.
    if (chmod(directory.c_str(), 0700) != 0) return Unusable(path, errno);
  }
  // SQLite would create the database for all to read, and gives its other files the same mode.
  RETURN_IF_ERROR(MakePrivateFile(data.store_));
  return data;
}

}  // namespace whipsnake::server
