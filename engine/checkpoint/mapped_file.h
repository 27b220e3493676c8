// Files mapped read-only, which survive that somebody changes them.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_MAPPED_FILE_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_MAPPED_FILE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

struct FaultRange;

// A regular file mapped read-only, of the size that it had at Open. Movable; empty after a move.
// Thread-safe.
//
// The pages are the system's, so a change of the file is a change of what is mapped. Two things
// keep that from doing harm:
//  - Where the file has shrunk, or the disk fails, the system sends SIGBUS to who reads. The first
//    Open installs a handler for the whole process, which puts zeros in the place of what cannot be
//    read and marks the mapping. A SIGBUS of any other address is handled as before.
//  - Check compares the file's size and time of modification with those at Open.
// So whoever computes with the bytes calls Check afterwards, and trusts the result only if that is
// OK. A writer that maps the file itself, or sets the time back, can escape the second. The way to
// replace a file is to rename another one over it: the mapping keeps the old one.
class MappedFile {
 public:
  // Errors as in files.h; RESOURCE_EXHAUSTED where this process has 4096 of them already.
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept { Swap(other); }
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

  // DATA_LOSS, naming the path, once the file has shrunk, could not be read or has changed: all
  // bytes are in doubt from then on. One system call, so that it can be done after every step.
  absl::Status Check() const;

 private:
  void Swap(MappedFile& other) noexcept;

  std::string path_;
  std::span<const std::byte> bytes_;
  FaultRange* range_ = nullptr;
  int descriptor_ = -1;
  int64_t modified_ = 0;  // nanoseconds of the epoch
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_MAPPED_FILE_H_
