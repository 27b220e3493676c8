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

// In decimal digits of this number, so that each write replaces the whole of the one before, in one
// sector of the disk, and needs no more room on it.
constexpr int kMarkDigits = 20;

std::string MarkOf(const std::string& path) { return path + ".durable"; }

absl::StatusOr<engine::Descriptor> OpenOwn(const std::string& path, int flags) {
  engine::Descriptor file(
      open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600));
  if (file.get() < 0) return engine::FileError(errno, path);
  return file;
}

}  // namespace

int64_t PartialFile::DurableBytes(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return 0;
  const engine::Descriptor mark(open(MarkOf(path).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  char digits[kMarkDigits] = {};
  int64_t bytes = 0;
  if (mark.get() < 0 || pread(mark.get(), digits, kMarkDigits, 0) != kMarkDigits ||
      !absl::SimpleAtoi(absl::string_view(digits, kMarkDigits), &bytes)) {
    return 0;
  }
  return std::clamp<int64_t>(bytes, 0, info.st_size);
}

absl::StatusOr<PartialFile> PartialFile::Open(const std::string& path, WriteFunction write) {
  const std::string directory = engine::ParentOf(path);
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return engine::FileError(errno, directory);
  }
  ASSIGN_OR_RETURN(engine::Descriptor file, OpenOwn(path, O_APPEND));
  ASSIGN_OR_RETURN(engine::Descriptor mark, OpenOwn(MarkOf(path), 0));
  if (ftruncate(file.get(), DurableBytes(path)) != 0) return engine::FileError(errno, path);
  PartialFile partial(path, std::move(file), std::move(mark), std::move(write));
  RETURN_IF_ERROR(partial.ReadExisting());
  RETURN_IF_ERROR(partial.Sync());
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
  if (fsync(file_.get()) == 0) return Mark();
  const absl::Status failed = engine::FileError(errno, path_);
  // The system forgets which pages it could not write, so a later fsync would not find them.
  if (ftruncate(file_.get(), durable_bytes_) != 0) return engine::FileError(errno, path_);
  return failed;
}

absl::Status PartialFile::Mark() {
  const std::string digits = absl::StrFormat("%0*d", kMarkDigits, bytes_);
  if (pwrite(mark_.get(), digits.data(), digits.size(), 0) != kMarkDigits ||
      fsync(mark_.get()) != 0) {
    return engine::FileError(errno, MarkOf(path_));
  }
  durable_bytes_ = bytes_;
  return absl::OkStatus();
}

}  // namespace whipsnake::server
