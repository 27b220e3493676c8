#include "engine/base/lfs_pointer.h"

namespace whipsnake::engine {

absl::Status CheckNoLfsPointer(std::string_view bytes) {
  if (!bytes.starts_with("version https://git-lfs.github.com/spec/v1")) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "a Git LFS pointer seen, expected the file that it stands for: run `git lfs pull` where it "
      "was cloned, or download the file");
}

}  // namespace whipsnake::engine
