// Reads whole files, and writes files and directories either completely or not at all.
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

// All errors name the path; a client sees only its last component (WithPath). NOT_FOUND means that
// there is no such file, INVALID_ARGUMENT that it is not a regular file but, say, a directory or a
// pipe. Other codes are those that the system's error maps to (PERMISSION_DENIED, ...).

// Returns the error of a system call on `path`; `error` is its errno.
absl::Status FileError(int error, std::string_view path);

// An owned file descriptor. Movable; closed on destruction.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(Descriptor&& other) noexcept : descriptor_(other.Release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();

  int get() const { return descriptor_; }  // -1 if none
  int Release() { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_ = -1;
};

// Opens a regular file for reading. Does not wait for the other end of a pipe.
absl::StatusOr<Descriptor> OpenRegularFile(const std::string& path);

// Returns the whole file as text, or INVALID_ARGUMENT if it is larger than `max_bytes`.
absl::StatusOr<std::string> ReadTextFile(const std::string& path,
                                         int64_t max_bytes = int64_t{64} << 20);

// The first bytes of a file, up to a given number, and the size of the file.
struct FileBeginning {
  std::string bytes;
  int64_t file_bytes = 0;
};
absl::StatusOr<FileBeginning> ReadBeginning(const std::string& path, int64_t bytes);

// A file or directory that is being written has a temporary name beside its final one: "X.tmp-" and
// 16 random hexadecimal digits. It is locked (flock) while it is being written.
bool IsTemporaryName(std::string_view name);

// Removes temporary files and directories that no process has locked, which killed processes leave
// behind, from `directory` and, with `deep`, from below it. Does not follow symbolic links. Returns
// the paths that it removed. What cannot be read or removed is left in place.
std::vector<std::string> SweepTemporaries(const std::string& directory, bool deep);

// Writes a file durably, and completely or not at all: see AtomicFile.
absl::Status WriteFileAtomically(const std::string& path, std::string_view contents);

// Returns `path` without any "/" and "/." at its end: "dir" for "dir/", "dir//." and "dir".
std::string PlainPath(std::string path);

// Returns the directory that contains `path`: "dir" for "dir/name" and "dir/name/", "." for "name".
std::string ParentOf(const std::string& path);

// Makes files that were created in or renamed into `directory` durable.
absl::Status SyncDirectory(const std::string& directory);

// Returns RESOURCE_EXHAUSTED if the disk of `directory` has less than `bytes` available.
absl::Status CheckRoom(const std::string& directory, int64_t bytes);

// A file that is being written. It is written under a temporary name beside `path`. Commit makes it
// durable (fsync of the file and its directory) and renames it to `path`, replacing any existing
// file. Without a Commit, nothing is left. Movable, not thread-safe.
class AtomicFile {
 public:
  // `mode` is passed to open().
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

// The same for a directory: the caller fills path(), and Commit renames it to the target. Without a
// Commit, nothing is left. Movable, not thread-safe.
class AtomicDirectory {
 public:
  // Returns ALREADY_EXISTS unless `target` is absent or an empty directory, and NOT_FOUND if its
  // parent does not exist. Sweeps the temporaries beside `target`.
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

// Copies the tokenizer and generation files of a model directory. Missing files are ignored.
absl::Status CopyCompanions(const std::string& from, const std::string& to);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_FILES_H_
