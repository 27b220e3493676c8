// The errors for lack of room on a disk. RESOURCE_EXHAUSTED alone also stands for lack of memory,
// of descriptors and of places in a queue.
#ifndef WHIPSNAKE_ENGINE_BASE_DISK_FULL_H_
#define WHIPSNAKE_ENGINE_BASE_DISK_FULL_H_

#include <string_view>

#include "absl/status/status.h"

namespace whipsnake::engine {

// Returns RESOURCE_EXHAUSTED: the disk, a quota or the limit on a file's size leaves no more room.
absl::Status DiskFullError(std::string_view message);

// Whether the status is a DiskFullError, possibly with context, or with another code since.
bool IsDiskFull(const absl::Status& status);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_DISK_FULL_H_
