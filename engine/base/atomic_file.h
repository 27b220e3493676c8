// Writes files and directories either completely or not at all.
#ifndef WHIPSNAKE_ENGINE_BASE_ATOMIC_FILE_H_
#define WHIPSNAKE_ENGINE_BASE_ATOMIC_FILE_H_

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/files.h"

namespace whipsnake::engine {

// All errors name the final path, as those of files.h do.

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
  // Gives the file an owner, a group and exactly these permissions, whatever the umask.
  absl::Status SetOwner(uid_t owner, gid_t group, mode_t mode);
  absl::Status Commit();

 private:
  AtomicFile(std::string path, std::string temporary, Descriptor file)
      : path_(std::move(path)), temporary_(std::move(temporary)), file_(std::move(file)) {}

  std::string path_;
  std::string temporary_;  // empty once committed or moved from
  Descriptor file_;
};

// Writes a whole file as an AtomicFile and commits it.
absl::Status WriteFileAtomically(const std::string& path, std::string_view contents);

// A directory that is being written. The caller fills path(), and Commit renames it to the target.
// Without a Commit, nothing is left. Movable, not thread-safe.
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

// Removes a directory so that others find all of it at its path, or nothing: gives it a temporary
// name first. OK if there is none. After an error, a sweep of the temporaries removes the rest.
absl::Status RemoveDirectory(const std::string& path);

// A file or directory that is being written has a temporary name beside its final one: "X.tmp-" and
// 16 random hexadecimal digits. It is locked (flock) while it is being written.
bool IsTemporaryName(std::string_view name);

// Removes temporary files and directories that no process has locked, which killed processes leave
// behind, from `directory` and, with `deep`, from below it. Does not follow symbolic links. Returns
// the paths that it removed. What cannot be read or removed is left in place.
std::vector<std::string> SweepTemporaries(const std::string& directory, bool deep);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_ATOMIC_FILE_H_
