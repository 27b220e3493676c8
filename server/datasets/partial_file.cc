#include "server/datasets/partial_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

// A mark is a number of bytes in decimal digits and the id of a boot. Its size is constant, so that
// each write replaces the one before, in one sector of the disk, and needs no more room on it.
constexpr size_t kMarkDigits = 20;
constexpr size_t kBootIdSize = 36;
constexpr size_t kMarkSize = kMarkDigits + kBootIdSize;

std::string PathOfMark(const std::string& path) { return path + ".durable"; }

// Differs from boot to boot; all spaces if the system does not tell.
const std::string& BootId() {
  static const std::string id = [] {
    std::string read(kBootIdSize, ' ');
    const engine::Descriptor file(open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
    const bool whole =
        file.get() >= 0 && pread(file.get(), read.data(), kBootIdSize, 0) == ssize_t{kBootIdSize};
    return whole ? read : std::string(kBootIdSize, ' ');
  }();
  return id;
}

absl::StatusOr<engine::Descriptor> OpenOwn(const std::string& path, int flags) {
  engine::Descriptor file(
      open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600));
  if (file.get() < 0) return engine::FileError(errno, path);
  return file;
}

// Records that so many bytes of the file at `path` are durable.
absl::Status WriteMark(int mark, int64_t bytes, const std::string& path) {
  const std::string text = absl::StrFormat("%0*d%s", int{kMarkDigits}, bytes, BootId());
  errno = EIO;  // of a write that is cut short
  if (pwrite(mark, text.data(), text.size(), 0) == ssize_t{kMarkSize} && fsync(mark) == 0) {
    return absl::OkStatus();
  }
  return engine::FileError(errno, PathOfMark(path));
}

// The bytes of a file of this size that no crash has damaged.
int64_t UndamagedBytes(int mark, int64_t size) {
  std::string text(kMarkSize, '\0');
  int64_t bytes = 0;
  if (pread(mark, text.data(), text.size(), 0) != ssize_t{kMarkSize} ||
      !absl::SimpleAtoi(absl::string_view(text.data(), kMarkDigits), &bytes)) {
    return 0;
  }
  const bool this_boot = text.substr(kMarkDigits) == BootId() && BootId().front() != ' ';
  return this_boot ? size : std::clamp<int64_t>(bytes, 0, size);
}

// Cuts off what a crash may have damaged and makes the rest durable. Returns its size.
absl::StatusOr<int64_t> CutAndSync(int file, int mark, const std::string& path) {
  struct stat info = {};
  if (fstat(file, &info) != 0) return engine::FileError(errno, path);
  const int64_t bytes = UndamagedBytes(mark, info.st_size);
  const bool cut = bytes == info.st_size || ftruncate(file, bytes) == 0;
  if (!cut || fsync(file) != 0) return engine::FileError(errno, path);
  RETURN_IF_ERROR(WriteMark(mark, bytes, path));
  return bytes;
}

}  // namespace

absl::StatusOr<int64_t> PartialFile::Recover(const std::string& path) {
  const engine::Descriptor file(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (file.get() < 0 && errno == ENOENT) return 0;
  if (file.get() < 0) return engine::FileError(errno, path);
  ASSIGN_OR_RETURN(const engine::Descriptor mark, OpenOwn(PathOfMark(path), 0));
  return CutAndSync(file.get(), mark.get(), path);
}

absl::StatusOr<PartialFile> PartialFile::Open(const std::string& path, WriteFunction write) {
  const std::string directory = engine::ParentOf(path);
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return engine::FileError(errno, directory);
  }
  ASSIGN_OR_RETURN(engine::Descriptor file, OpenOwn(path, O_APPEND));
  ASSIGN_OR_RETURN(engine::Descriptor mark, OpenOwn(PathOfMark(path), 0));
  PartialFile partial(path, std::move(file), std::move(mark), std::move(write));
  ASSIGN_OR_RETURN(partial.durable_bytes_,
                   CutAndSync(partial.file_.get(), partial.mark_.get(), path));
  RETURN_IF_ERROR(partial.ReadExisting());
  RETURN_IF_ERROR(engine::SyncDirectory(directory));
  RETURN_IF_ERROR(engine::SyncDirectory(engine::ParentOf(directory)));
  return partial;
}

absl::Status PartialFile::ReadExisting() {
  constexpr size_t kPiece = 256 << 10;
  std::string piece(kPiece, '\0');
  while (true) {
    const ssize_t got = pread(file_.get(), piece.data(), piece.size(), bytes_);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return engine::FileError(errno, path_);
    if (got == 0) return absl::OkStatus();
    digest_.Add({piece.data(), static_cast<size_t>(got)});
    bytes_ += got;
  }
}

absl::Status PartialFile::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write_(file_.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return engine::FileError(errno, path_);
    digest_.Add(bytes.substr(0, put));
    bytes_ += put;
    bytes.remove_prefix(put);
  }
  return absl::OkStatus();
}

absl::Status PartialFile::Sync() {
  const absl::Status failed = fsync(file_.get()) == 0 ? WriteMark(mark_.get(), bytes_, path_)
                                                      : engine::FileError(errno, path_);
  if (failed.ok()) {
    durable_bytes_ = bytes_;
    return absl::OkStatus();
  }
  // The system forgets which pages it could not write, so a later fsync would not find them.
  if (ftruncate(file_.get(), durable_bytes_) != 0) return engine::FileError(errno, path_);
  return failed;
}

}  // namespace whipsnake::server
