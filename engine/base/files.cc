#include "engine/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <span>
#include <system_error>
#include <utility>

#include "absl/strings/cord.h"
#include "engine/base/disk_full.h"
#include "engine/base/lfs_pointer.h"
#include "engine/base/open_file.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// Reads until `buffer` is full or the file ends. Returns the number of bytes that it read.
absl::StatusOr<size_t> ReadInto(std::span<char> buffer, const Descriptor& file,
                                const std::string& path) {
  size_t filled = 0;
  while (filled < buffer.size()) {
    const ssize_t got = read(file.get(), buffer.data() + filled, buffer.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(errno, path);
    if (got == 0) break;
    filled += got;
  }
  return filled;
}

constexpr std::string_view kDiskFullPayload = "whipsnake.disk_full";

bool IsLink(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode);
}

absl::Status DanglingLink(const std::string& path) {
  std::error_code error;
  const std::string target = std::filesystem::read_symlink(path, error).string();
  return WithPath(WithClientMessage(absl::FailedPreconditionError(absl::StrCat(
                                        "a link to ", target, " seen, which is not there")),
                                    "a link to a file that is not there seen"),
                  path);
}

}  // namespace

absl::Status DiskFullError(std::string_view message) {
  absl::Status status = absl::ResourceExhaustedError(ToAbsl(message));
  status.SetPayload(ToAbsl(kDiskFullPayload), absl::Cord());
  return status;
}

bool IsDiskFull(const absl::Status& status) {
  return status.GetPayload(ToAbsl(kDiskFullPayload)).has_value();
}

absl::Status FileError(int error, std::string_view path) {
  // The message has no name yet, because WithPath adds different ones for the two readers.
  const char* const message = strerrordesc_np(error);
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return WithPath(
      full ? DiskFullError(message) : absl::Status(absl::ErrnoToStatusCode(error), message), path);
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

Descriptor::~Descriptor() {
  if (descriptor_ >= 0) close(descriptor_);
}

absl::StatusOr<Descriptor> OpenRegularFile(const std::string& path) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info;
  if (file.get() < 0 || fstat(file.get(), &info) != 0) {
    const int error = errno;
    return error == ENOENT && IsLink(path) ? DanglingLink(path) : FileError(error, path);
  }
  if (S_ISREG(info.st_mode)) return file;
  return WithPath(absl::InvalidArgumentError(
                      absl::StrCat("a ", S_ISDIR(info.st_mode) ? "directory" : "special file",
                                   " seen, expected a regular file")),
                  path);
}

std::string StripTrailingSlashes(std::string path) {
  while (path.size() > 1 && (path.ends_with('/') || path.ends_with("/."))) path.pop_back();
  return path;
}

std::string ParentOf(const std::string& path) {
  const std::string parent =
      std::filesystem::path(StripTrailingSlashes(path)).parent_path().string();
  return parent.empty() ? "." : parent;
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path, int64_t max_bytes) {
  ASSIGN_OR_RETURN(const Descriptor file, OpenRegularFile(path));
  return ReadText(file, path, max_bytes);
}

absl::StatusOr<std::string> ReadText(const Descriptor& file, const std::string& path,
                                     int64_t max_bytes) {
  struct stat info;
  if (fstat(file.get(), &info) != 0) return FileError(errno, path);
  const int64_t size = info.st_size;
  const auto too_large = [&](int64_t seen) {
    return WithPath(
        absl::InvalidArgumentError(absl::StrCat(seen, " bytes seen, expected at most ", max_bytes)),
        path);
  };
  if (size > max_bytes) return too_large(size);
  // One byte more than the size, so that the loop detects the end of the file and any growth.
  std::string text(size + 1, '\0');
  size_t filled = 0;
  while (true) {
    ASSIGN_OR_RETURN(const size_t got, ReadInto(std::span(text).subspan(filled), file, path));
    filled += got;
    if (std::cmp_greater(filled, max_bytes)) return too_large(filled);
    if (filled < text.size()) break;
    text.resize(2 * text.size());
  }
  text.resize(filled);
  if (absl::Status status = CheckNoLfsPointer(text); !status.ok()) return WithPath(status, path);
  return text;
}

absl::StatusOr<FileBeginning> ReadBeginning(const std::string& path, int64_t bytes) {
  ASSIGN_OR_RETURN(const Descriptor file, OpenRegularFile(path));
  struct stat info;
  if (fstat(file.get(), &info) != 0) return FileError(errno, path);
  FileBeginning beginning{std::string(std::min<int64_t>(bytes, info.st_size), '\0'), info.st_size};
  ASSIGN_OR_RETURN(const size_t got, ReadInto(beginning.bytes, file, path));
  beginning.bytes.resize(got);
  return beginning;
}

absl::Status CheckDiskSpace(const std::string& directory, int64_t bytes) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(directory, error);
  if (error || space.available >= static_cast<uint64_t>(bytes)) return absl::OkStatus();
  return WithPath(DiskFullError(absl::StrCat(
                      space.available, " bytes of free space seen, expected at least ", bytes)),
                  directory);
}

absl::Status SyncDirectory(const std::string& directory) {
  const Descriptor descriptor(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() < 0 || fsync(descriptor.get()) != 0) return FileError(errno, directory);
  return absl::OkStatus();
}

}  // namespace whipsnake::engine
