// Files: read whole, mapped, or written whole or not at all.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_FILES_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_FILES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// All errors name the path. NOT_FOUND without such a file; INVALID_ARGUMENT for what is not a
// regular file, such as a directory or a pipe; otherwise what the system's error maps to
// (PERMISSION_DENIED, ...).

// The whole file as text; INVALID_ARGUMENT past `max_bytes`.
absl::StatusOr<std::string> ReadTextFile(const std::string& path,
                                         int64_t max_bytes = int64_t{64} << 20);

// Writes a file whole or not at all, and durably: see AtomicFile.
absl::Status WriteFileAtomically(const std::string& path, std::string_view contents);

// The directory that `path` (without a slash at its end) is in.
std::string ParentOf(const std::string& path);

// Makes durable what was created in or renamed into `directory`.
absl::Status SyncDirectory(const std::string& directory);

// RESOURCE_EXHAUSTED where the disk of `directory` has less room than `bytes`.
absl::Status CheckRoom(const std::string& directory, int64_t bytes);

// A regular file mapped read-only. Movable; empty after a move. Thread-safe. The size is that at
// Open: a file that somebody truncates later must not be read any more (the system answers with
// SIGBUS), so replace models by renaming, as AtomicFile does, never in place.
class MappedFile {
 public:
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

// A file in the making. It is written under a temporary name beside `path`, and Commit makes it
// durable (fsync of the file and its directory) and gives it its name, in place of what had it.
// Without a Commit nothing is left. Movable, not thread-safe.
class AtomicFile {
 public:
  static absl::StatusOr<AtomicFile> Create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept { *this = std::move(other); }
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();

  absl::Status Append(std::span<const std::byte> bytes);
  absl::Status Append(std::string_view text) { return Append(std::as_bytes(std::span(text))); }
  absl::Status Commit();

 private:
  AtomicFile(std::string path, std::string temporary, int descriptor)
      : path_(std::move(path)), temporary_(std::move(temporary)), descriptor_(descriptor) {}
  void Discard();

  std::string path_;
  std::string temporary_;  // empty once committed or moved from
  int descriptor_ = -1;
};

// The same for a directory: the caller fills path(), and Commit gives it its name. Without a Commit
// nothing is left. Movable, not thread-safe.
class AtomicDirectory {
 public:
  // ALREADY_EXISTS if `target` is anything but absent or an empty directory; NOT_FOUND without its
  // parent.
  static absl::StatusOr<AtomicDirectory> Create(const std::string& target);
  AtomicDirectory(AtomicDirectory&& other) noexcept { *this = std::move(other); }
  AtomicDirectory& operator=(AtomicDirectory&& other) noexcept;
  ~AtomicDirectory();

  const std::string& path() const { return temporary_; }
  absl::Status Commit();

 private:
  AtomicDirectory(std::string target, std::string temporary)
      : target_(std::move(target)), temporary_(std::move(temporary)) {}

  std::string target_;
  std::string temporary_;  // empty once committed or moved from
};

// Copies what a model directory has beside its config and weights: the files of tokenizer and
// generation. Those that are not there are not missed.
absl::Status CopyCompanions(const std::string& from, const std::string& to);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_FILES_H_
