// What a client may name: models, and directories under the model root.
#ifndef WHIPSNAKE_SERVER_REGISTRY_MODEL_PATH_H_
#define WHIPSNAKE_SERVER_REGISTRY_MODEL_PATH_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::server {

// INVALID_ARGUMENT with the field "name" unless it is 1 to 63 of a-z, 0-9, '-', '_', '.', beginning
// with a letter or digit.
absl::Status CheckModelName(std::string_view name);

// The real path of a directory below `root`. INVALID_ARGUMENT with the field "path" for an absolute
// path and for one that leaves the root by ".." or by a symbolic link, NOT_FOUND where there is no
// directory, FAILED_PRECONDITION where there is no root (empty).
absl::StatusOr<std::string> ResolveModelPath(const std::string& root, std::string_view path);

// The same of a regular file, which `field` of the request names.
absl::StatusOr<std::string> ResolveFile(const std::string& root, std::string_view path,
                                        std::string_view field);

// The same of a directory that is still to be made, so NOT_FOUND without its parent and
// ALREADY_EXISTS where there is something, were it a link to nowhere.
absl::StatusOr<std::string> ResolveNewDirectory(const std::string& root, std::string_view path,
                                                std::string_view field);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_MODEL_PATH_H_
