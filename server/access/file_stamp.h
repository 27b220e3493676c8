// Notices that a file was replaced or written.
#ifndef WHIPSNAKE_SERVER_ACCESS_FILE_STAMP_H_
#define WHIPSNAKE_SERVER_ACCESS_FILE_STAMP_H_

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <string>

namespace whipsnake::server {

// A value that differs before and after a change of the file behind a path: what the path leads to,
// its size and the time when its contents, owner or permissions changed. All zero if there is no
// file.
using FileStamp = std::array<int64_t, 5>;

inline FileStamp StampOf(const std::string& path) {
  struct stat info = {};
  if (path.empty() || stat(path.c_str(), &info) != 0) return {};
  return {static_cast<int64_t>(info.st_dev), static_cast<int64_t>(info.st_ino),
          static_cast<int64_t>(info.st_size), static_cast<int64_t>(info.st_ctim.tv_sec),
          static_cast<int64_t>(info.st_ctim.tv_nsec)};
}

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ACCESS_FILE_STAMP_H_
