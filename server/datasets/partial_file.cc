#include "server/datasets/partial_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "engine/base/status.h"

namespace whipsnake::server {

absl::StatusOr<PartialFile> PartialFile::Open(const std::string& path, WriteFunction write) {
  const std::string directory = engine::ParentOf(path);
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return engine::FileError(errno, directory);
  }
  engine::Descriptor file(
      open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.get() < 0) return engine::FileError(errno, path);
  PartialFile partial(path, std::move(file), std::move(write));
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
  if (fsync(file_.get()) == 0) {
    durable_bytes_ = bytes_;
    return absl::OkStatus();
  }
  const absl::Status failed = engine::FileError(errno, path_);
  // The system forgets which pages it could not write, so a later fsync would not find them.
  if (ftruncate(file_.get(), durable_bytes_) != 0) return engine::FileError(errno, path_);
  return failed;
}

}  // namespace whipsnake::server
