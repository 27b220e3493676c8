// A file of rows, read in place.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_DATA_FILE_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_DATA_FILE_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/files.h"

namespace whipsnake::engine {

// A regular file that is open for reading. It has no position, so const methods are thread-safe. A
// file that is renamed over it does not affect it.
class DataFile {
 public:
  // Errors as in files.h.
  static absl::StatusOr<DataFile> Open(const std::string& path);

  const std::string& path() const { return path_; }
  int64_t bytes() const { return bytes_; }  // at Open

  // Reads from `offset` until `buffer` is full or the file ends. Returns the number of bytes read.
  absl::StatusOr<int64_t> Read(int64_t offset, std::span<char> buffer) const;

 private:
  DataFile(std::string path, Descriptor file, int64_t bytes)
      : path_(std::move(path)), file_(std::move(file)), bytes_(bytes) {}

  std::string path_;
  Descriptor file_;
  int64_t bytes_ = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_DATA_FILE_H_
