// Read-only file mappings that survive changes to the file.
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

// A regular file mapped read-only, with the size that it had at Open. Movable; move assignment
// swaps. Const methods are thread-safe.
//
// The pages belong to the system, so a change to the file changes the mapped bytes. Two mechanisms
// keep that from doing harm:
//  - If the file shrinks or the disk fails, the system sends SIGBUS to the thread that reads. The
//    first Open installs a process-wide handler, which replaces the unreadable bytes by zeros and
//    marks the mapping as damaged. A SIGBUS at any other address is handled as before.
//  - Check compares the file's size and modification time with those at Open.
// After computing with the bytes, call Check, and trust the result only if it returns OK. A writer
// that maps the file itself or resets the modification time can evade the second mechanism. To
// replace a file safely, rename another one over it: the mapping keeps the old one.
class MappedFile {
 public:
  // Errors as in files.h; RESOURCE_EXHAUSTED if this process already has 4096 mapped files.
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept { Swap(other); }
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

  // Returns DATA_LOSS, naming the path, if the file has shrunk, could not be read or has changed.
  // All bytes are unreliable from then on. Costs one system call, so it can be called after every
  // step.
  absl::Status Check() const;

 private:
  void Swap(MappedFile& other) noexcept;

  std::string path_;
  std::span<const std::byte> bytes_;
  FaultRange* range_ = nullptr;
  int descriptor_ = -1;
  int64_t modified_ = 0;  // nanoseconds since the epoch
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_MAPPED_FILE_H_
