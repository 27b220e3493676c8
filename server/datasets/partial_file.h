// A file that grows by appending, with the digest of its bytes.
//
// Beside it, "<name>.durable" has the number of its bytes that a crash of the machine leaves, and
// the boot of the machine in which that was written. After a crash, others may be lost, or be there
// as zeros, so a file of an earlier boot is cut to that number when it is opened again.
#ifndef WHIPSNAKE_SERVER_DATASETS_PARTIAL_FILE_H_
#define WHIPSNAKE_SERVER_DATASETS_PARTIAL_FILE_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/files.h"
#include "server/datasets/sha256.h"

namespace whipsnake::server {

// The system's write(), or a test's in its place.
using WriteFunction = std::function<ssize_t(int file, const void* bytes, size_t count)>;

// All errors are those of files.h. Movable, not thread-safe.
class PartialFile {
 public:
  // Opens the file, or creates it and its directory, accessible only to this user. Cuts off what a
  // crash may have damaged, reads the rest, which takes a second or so for each GiB, and makes that
  // durable.
  static absl::StatusOr<PartialFile> Open(const std::string& path, WriteFunction write);

  // Returns the bytes that Open() will find in the file, or 0 if there is none. They are durable.
  static absl::StatusOr<int64_t> Recover(const std::string& path);

  int64_t bytes() const { return bytes_; }
  // Those that survive a crash of the machine: as of Open or the last Sync.
  int64_t durable_bytes() const { return durable_bytes_; }
  // Of all bytes.
  std::string digest() const { return digest_.text(); }

  // Appends all bytes, or, with an error, a part of them.
  absl::Status Append(std::string_view bytes);
  // Makes all bytes and the file's name durable. With an error, the file loses the bytes that are
  // not durable, and must not be used further.
  absl::Status Sync();

 private:
  PartialFile(std::string path, engine::Descriptor file, engine::Descriptor mark,
              WriteFunction write)
      : path_(std::move(path)),
        file_(std::move(file)),
        mark_(std::move(mark)),
        write_(std::move(write)) {}

  absl::Status ReadExisting();

  std::string path_;
  engine::Descriptor file_, mark_;
  WriteFunction write_;
  Sha256 digest_;
  int64_t bytes_ = 0;
  int64_t durable_bytes_ = 0;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_DATASETS_PARTIAL_FILE_H_
