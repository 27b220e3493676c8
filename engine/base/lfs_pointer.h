// Recognizes the placeholders that Git leaves where a large file was not downloaded.
#ifndef WHIPSNAKE_ENGINE_BASE_LFS_POINTER_H_
#define WHIPSNAKE_ENGINE_BASE_LFS_POINTER_H_

#include <string_view>

#include "absl/status/status.h"

namespace whipsnake::engine {

// Returns INVALID_ARGUMENT, saying what to do, if a file with these first bytes is a pointer of Git
// LFS (github.com/git-lfs/git-lfs, docs/spec.md).
absl::Status CheckNoLfsPointer(std::string_view bytes);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_LFS_POINTER_H_
