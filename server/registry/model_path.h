// Checks the directories and files below the model root that clients may name.
#ifndef WHIPSNAKE_SERVER_REGISTRY_MODEL_PATH_H_
#define WHIPSNAKE_SERVER_REGISTRY_MODEL_PATH_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/files.h"

namespace whipsnake::server {

// Symbolic links may lead anywhere below the model root. For clients, a link's target outside the
// root does not exist. This holds for the directories and files that a request names, and for the
// entries of a model's directory. Only the links of a snapshot in a cache of the Hugging Face hub
// may also lead to the other files of the same model there. (A directory named on the command line
// belongs to the operator, and its links are followed.) If the root changes while the server runs,
// a result can become stale, so queued work resolves its paths again when it starts.

// Returns the real path of a directory below `root`, none of whose entries is a link out of the
// root. For a model of a hub's cache, models--Org--Name, that is its snapshot (HubSnapshot); if the
// root is such a cache, "Org/Name" leads to it too. INVALID_ARGUMENT if the path is absolute, or
// leaves the root through ".." or a symbolic link, or has an entry that does; NOT_FOUND if there is
// no such directory; FAILED_PRECONDITION if there is no root (empty); INTERNAL if the root cannot
// be read. The errors name `field`, that of the request.
absl::StatusOr<std::string> ResolveModelPath(const std::string& root, std::string_view path,
                                             std::string_view field = "path");

// Like ResolveModelPath, for a regular file.
absl::StatusOr<std::string> ResolveFile(const std::string& root, std::string_view path,
                                        std::string_view field);

// Like ResolveModelPath, for a directory that is yet to be created: NOT_FOUND if its parent does
// not exist, and ALREADY_EXISTS if anything exists at the path, even a dangling link. Also
// INVALID_ARGUMENT if the name has control characters, starts with a dash, is too long, or looks
// like a temporary name (engine::IsTemporaryName), or if the path is inside a model directory (one
// with a config.json).
absl::StatusOr<std::string> ResolveNewDirectory(const std::string& root, std::string_view path,
                                                std::string_view field);

// An open directory. As long as this object lives, path() leads to the directory, even if it is
// moved or replaced. Movable.
class OpenDirectory {
 public:
  // `real_path` must be a resolved path. Returns INVALID_ARGUMENT with the field if it now contains
  // a symbolic link.
  static absl::StatusOr<OpenDirectory> Open(const std::string& root, const std::string& real_path,
                                            std::string_view field);
  std::string path() const;

 private:
  explicit OpenDirectory(engine::Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

  engine::Descriptor descriptor_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_MODEL_PATH_H_
