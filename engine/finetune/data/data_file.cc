#include "engine/finetune/data/data_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "engine/base/status.h"

namespace whipsnake::engine {

absl::StatusOr<DataFile> DataFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(Descriptor file, OpenRegularFile(path));
  struct stat info;
  if (fstat(file.get(), &info) != 0) return FileError(errno, path);
  return DataFile(path, std::move(file), info.st_size);
}

absl::StatusOr<int64_t> DataFile::Read(int64_t offset, std::span<char> buffer) const {
  int64_t filled = 0;
  while (filled < std::ssize(buffer)) {
    const ssize_t got =
        pread(file_.get(), buffer.data() + filled, buffer.size() - filled, offset + filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(errno, path_);
    if (got == 0) break;
    filled += got;
  }
  return filled;
}

}  // namespace whipsnake::engine
