#include "engine/base/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <random>
#include <system_error>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

absl::Status WriteAll(const std::string& path, int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(errno, path);
    bytes = bytes.subspan(written);
  }
  return absl::OkStatus();
}

constexpr std::string_view kTemporary = ".tmp-";
constexpr size_t kTemporaryDigits = 16;

// Random: a counter restarts in every process, and in a container the process ID is always 1.
std::string TemporaryName(const std::string& path) {
  std::random_device random;
  const uint64_t number = uint64_t{random()} << 32 | random();
  return absl::StrCat(path, ToAbsl(kTemporary), absl::Hex(number, absl::kZeroPad16));
}

bool IsThere(int descriptor) {
  struct stat info;
  return fstat(descriptor, &info) == 0 && info.st_nlink > 0;
}

// Calls `make` with a temporary name beside `path`, locks the result, and returns the name and the
// open file. A sweep may remove it before it is locked; then tries again. If the file system has no
// locks, it stays unlocked, but then a sweep cannot lock it either and leaves it alone.
template <typename Make>
absl::StatusOr<std::pair<std::string, Descriptor>> MakeTemporary(const std::string& path,
                                                                 const Make& make) {
  while (true) {
    std::string name = TemporaryName(path);
    Descriptor made(make(name.c_str()));
    if (made.get() < 0 && errno == EEXIST) continue;
    if (made.get() < 0) return FileError(errno, path);
    flock(made.get(), LOCK_EX);
    if (IsThere(made.get())) return std::pair(std::move(name), std::move(made));
  }
}

// Opens and locks a temporary that no process has locked. The lock keeps others from taking it.
// Returns an empty Descriptor if the temporary is in use or cannot be opened.
Descriptor TakeAbandoned(const std::string& path) {
  Descriptor found(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (found.get() < 0 || flock(found.get(), LOCK_EX | LOCK_NB) != 0) return Descriptor();
  return found;
}

}  // namespace

absl::StatusOr<AtomicFile> AtomicFile::Create(const std::string& path, int mode) {
  ASSIGN_OR_RETURN(auto made, MakeTemporary(path, [mode](const char* name) {
                     return open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
                   }));
  return AtomicFile(path, std::move(made.first), std::move(made.second));
}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(file_, other.file_);
  return *this;
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

absl::Status AtomicFile::Append(std::span<const std::byte> bytes) {
  return WriteAll(path_, file_.get(), bytes);
}

absl::Status AtomicFile::SetOwner(uid_t owner, gid_t group, mode_t mode) {
  // In this order: a change of the owner may clear bits of the permissions.
  if (fchown(file_.get(), owner, group) == 0 && fchmod(file_.get(), mode) == 0) {
    return absl::OkStatus();
  }
  return FileError(errno, path_);
}

absl::Status AtomicFile::Commit() {
  if (fsync(file_.get()) != 0) return FileError(errno, path_);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) return FileError(errno, path_);
  temporary_.clear();
  return SyncDirectory(ParentOf(path_));
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view contents) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Append(contents));
  return file.Commit();
}

absl::StatusOr<AtomicDirectory> AtomicDirectory::Create(const std::string& target) {
  std::error_code error;
  const auto state = std::filesystem::status(target, error);
  if (std::filesystem::exists(state) &&
      !(std::filesystem::is_directory(state) && std::filesystem::is_empty(target, error))) {
    return WithPath(absl::AlreadyExistsError(
                        "a file or a directory that is not empty seen, expected nothing there"),
                    target);
  }
  std::string plain = StripTrailingSlashes(target);
  SweepTemporaries(ParentOf(plain), /*deep=*/false);
  ASSIGN_OR_RETURN(auto made, MakeTemporary(plain, [](const char* name) {
                     if (mkdir(name, 0777) != 0) return -1;
                     const int made = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
                     if (made < 0) rmdir(name);
                     return made;
                   }));
  return AtomicDirectory(std::move(plain), std::move(made.first), std::move(made.second));
}

AtomicDirectory& AtomicDirectory::operator=(AtomicDirectory&& other) noexcept {
  std::swap(target_, other.target_);
  std::swap(temporary_, other.temporary_);
  std::swap(lock_, other.lock_);
  return *this;
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!temporary_.empty()) std::filesystem::remove_all(temporary_, ignored);
}

absl::Status AtomicDirectory::Commit() {
  RETURN_IF_ERROR(SyncDirectory(temporary_));
  // rename() replaces an empty directory but nothing else.
  if (rename(temporary_.c_str(), target_.c_str()) != 0) return FileError(errno, target_);
  temporary_.clear();
  return SyncDirectory(ParentOf(target_));
}

absl::Status RemoveDirectory(const std::string& path) {
  const std::string doomed = TemporaryName(StripTrailingSlashes(path));
  if (rename(path.c_str(), doomed.c_str()) != 0) {
    return errno == ENOENT ? absl::OkStatus() : FileError(errno, path);
  }
  std::error_code error;
  std::filesystem::remove_all(doomed, error);
  return error ? FileError(error.value(), path) : absl::OkStatus();
}

bool IsTemporaryName(std::string_view name) {
  const size_t at = name.rfind(kTemporary);
  if (at == name.npos || at == 0) return false;
  const std::string_view digits = name.substr(at + kTemporary.size());
  return digits.size() == kTemporaryDigits &&
         digits.find_first_not_of("0123456789abcdef") == digits.npos;
}

std::vector<std::string> SweepTemporaries(const std::string& directory, bool deep) {
  std::vector<std::string> removed;
  std::error_code error;
  std::filesystem::recursive_directory_iterator entry(
      directory, std::filesystem::directory_options::skip_permission_denied, error);
  for (const std::filesystem::recursive_directory_iterator end; !error && entry != end;
       entry.increment(error)) {
    if (!deep) entry.disable_recursion_pending();
    if (!IsTemporaryName(entry->path().filename().string())) continue;
    entry.disable_recursion_pending();
    const Descriptor abandoned = TakeAbandoned(entry->path());
    std::error_code failure;
    if (abandoned.get() >= 0 && std::filesystem::remove_all(entry->path(), failure) > 0 &&
        !failure) {
      removed.push_back(entry->path().string());
    }
  }
  return removed;
}

}  // namespace whipsnake::engine
