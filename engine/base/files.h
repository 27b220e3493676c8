// Opens and reads files, and the paths and directories that they are in.
#ifndef WHIPSNAKE_ENGINE_BASE_FILES_H_
#define WHIPSNAKE_ENGINE_BASE_FILES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// All errors name the path; a client sees only its last component (WithPath). NOT_FOUND means that
// there is no such file, INVALID_ARGUMENT that it is not a regular file but, say, a directory or a
// pipe, FAILED_PRECONDITION that it is a link to nothing, as in a download that is not complete.
// Other codes are those that the system's error maps to (PERMISSION_DENIED, ...).

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

// Returns `path` without any "/" and "/." at its end: "dir" for "dir/", "dir//." and "dir".
std::string StripTrailingSlashes(std::string path);

// Returns the directory that contains `path`: "dir" for "dir/name" and "dir/name/", "." for "name".
std::string ParentOf(const std::string& path);

// Makes files that were created in or renamed into `directory` durable.
absl::Status SyncDirectory(const std::string& directory);

// Returns RESOURCE_EXHAUSTED if the disk of `directory` has less than `bytes` available.
absl::Status CheckDiskSpace(const std::string& directory, int64_t bytes);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_FILES_H_
