// What a client may name: models, and directories under the model root.
#ifndef WHIPSNAKE_SERVER_REGISTRY_MODEL_PATH_H_
#define WHIPSNAKE_SERVER_REGISTRY_MODEL_PATH_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/files.h"

namespace whipsnake::server {

// INVALID_ARGUMENT with the field "name" unless it is 1 to 63 of a-z, 0-9, '-', '_', '.', beginning
// with a letter or digit.
absl::Status CheckModelName(std::string_view name);

// Symbolic links follow one rule: they may lead wherever they like below the model root, and what a
// link leads to outside of it does not exist for clients. That holds for the directories and files
// that a request names, and for the entries of a model's directory. (A directory that the command
// line names is the operator's own, and its links are followed.) A root that changes beneath the
// server can make an answer stale: what is queued is resolved again when its turn comes.

// The real path of a directory below `root`, none of whose entries is a link out of the root.
// INVALID_ARGUMENT with the field "path" for an absolute path and for one that leaves the root by
// ".." or by a symbolic link, or has an entry that does; NOT_FOUND where there is no directory,
// FAILED_PRECONDITION where there is no root (empty), INTERNAL where the root cannot be read.
absl::StatusOr<std::string> ResolveModelPath(const std::string& root, std::string_view path);

// The same of a regular file, which `field` of the request names.
absl::StatusOr<std::string> ResolveFile(const std::string& root, std::string_view path,
                                        std::string_view field);

// The same of a directory that is still to be made, so NOT_FOUND without its parent and
// ALREADY_EXISTS where there is something, were it a link to nowhere. INVALID_ARGUMENT too for a
// name with control characters, with a dash before it, too long, or like that of a directory in the
// making (engine::IsTemporaryName), and inside a directory that has a config.json: a model's own.
absl::StatusOr<std::string> ResolveNewDirectory(const std::string& root, std::string_view path,
                                                std::string_view field);

// A directory held open: path() leads to it wherever it is moved, and whatever takes its place, for
// as long as this lives. Movable.
class HeldDirectory {
 public:
  // `real_path` is one that was resolved: INVALID_ARGUMENT with the field where a symbolic link is
  // in it by now.
  static absl::StatusOr<HeldDirectory> Open(const std::string& root, const std::string& real_path,
                                            std::string_view field);
  std::string path() const;

 private:
  explicit HeldDirectory(engine::Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

  engine::Descriptor descriptor_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_MODEL_PATH_H_
