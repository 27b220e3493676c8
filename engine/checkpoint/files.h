// Files: read whole, or written whole or not at all.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_FILES_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_FILES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// All errors name the path; a client sees the last part of it alone (WithPath). NOT_FOUND without
// such a file; INVALID_ARGUMENT for what is not a regular file, such as a directory or a pipe;
// otherwise what the system's error maps to (PERMISSION_DENIED, ...).

// The error of a system call on `path`.
absl::Status FileError(int error, std::string_view path);

// An open file. Movable; closed at its end.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(Descriptor&& other) noexcept : descriptor_(other.Release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();

  int get() const { return descriptor_; }  // -1: none
  int Release() { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_ = -1;
};

// For reading. Does not wait for the other end of a pipe.
absl::StatusOr<Descriptor> OpenRegularFile(const std::string& path);

// The whole file as text; INVALID_ARGUMENT past `max_bytes`.
absl::StatusOr<std::string> ReadTextFile(const std::string& path,
                                         int64_t max_bytes = int64_t{64} << 20);

// The first bytes of a file, `bytes` of them or all, and how many it has.
struct FileBeginning {
  std::string bytes;
  int64_t file_bytes = 0;
};
absl::StatusOr<FileBeginning> ReadBeginning(const std::string& path, int64_t bytes);

// Files and directories in the making have names of their own beside those that they are to get:
// "X.tmp-" and 16 random hexadecimal digits. They are locked (flock) while they are made.
bool IsTemporaryName(std::string_view name);

// Removes files and directories in the making that no process has locked, in `directory` or, with
// `deep`, also below it: what a process that was killed has left. Follows no symbolic links.
// Returns the paths of what it removed. What cannot be read or removed is left.
std::vector<std::string> SweepTemporaries(const std::string& directory, bool deep);

// Writes a file whole or not at all, and durably: see AtomicFile.
absl::Status WriteFileAtomically(const std::string& path, std::string_view contents);

// `path` without what means nothing at its end: "dir" for "dir/", "dir//." and "dir".
std::string PlainPath(std::string path);

// The directory that `path` is in: "dir" for "dir/name", and for "dir/name/".
std::string ParentOf(const std::string& path);

// Makes durable what was created in or renamed into `directory`.
absl::Status SyncDirectory(const std::string& directory);

// RESOURCE_EXHAUSTED where the disk of `directory` has less room than `bytes`.
absl::Status CheckRoom(const std::string& directory, int64_t bytes);

// A file in the making. It is written under a temporary name beside `path`, and Commit makes it
// durable (fsync of the file and its directory) and gives it its name, in place of what had it.
// Without a Commit nothing is left. Movable, not thread-safe.
class AtomicFile {
 public:
  // `mode` is that of open().
  static absl::StatusOr<AtomicFile> Create(const std::string& path, int mode = 0666);
  AtomicFile(AtomicFile&& other) noexcept { *this = std::move(other); }
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();

  absl::Status Append(std::span<const std::byte> bytes);
  absl::Status Append(std::string_view text) { return Append(std::as_bytes(std::span(text))); }
  absl::Status Commit();

 private:
  AtomicFile(std::string path, std::string temporary, Descriptor file)
      : path_(std::move(path)), temporary_(std::move(temporary)), file_(std::move(file)) {}

  std::string path_;
  std::string temporary_;  // empty once committed or moved from
  Descriptor file_;
};

// The same for a directory: the caller fills path(), and Commit gives it its name. Without a Commit
// nothing is left. Movable, not thread-safe.
class AtomicDirectory {
 public:
  // ALREADY_EXISTS if `target` is anything but absent or an empty directory; NOT_FOUND without its
  // parent. Sweeps the temporaries beside it.
  static absl::StatusOr<AtomicDirectory> Create(const std::string& target);
  AtomicDirectory(AtomicDirectory&& other) noexcept { *this = std::move(other); }
  AtomicDirectory& operator=(AtomicDirectory&& other) noexcept;
  ~AtomicDirectory();

  const std::string& path() const { return temporary_; }
  absl::Status Commit();

 private:
  AtomicDirectory(std::string target, std::string temporary, Descriptor lock)
      : target_(std::move(target)), temporary_(std::move(temporary)), lock_(std::move(lock)) {}

  std::string target_;
  std::string temporary_;  // empty once committed or moved from
  Descriptor lock_;
};

// Copies what a model directory has beside its config and weights: the files of tokenizer and
// generation. Those that are not there are not missed.
absl::Status CopyCompanions(const std::string& from, const std::string& to);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_FILES_H_
