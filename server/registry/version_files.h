// The directories of versions, in DataDirectory::models().
#ifndef WHIPSNAKE_SERVER_REGISTRY_VERSION_FILES_H_
#define WHIPSNAKE_SERVER_REGISTRY_VERSION_FILES_H_

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace whipsnake::server {

// Returns "version-" and 32 random hexadecimal digits.
std::string NewVersionDirectory();
bool IsVersionDirectory(std::string_view name);

// Makes `target` a directory with the regular files of the directory `source`, without those in
// directories below it: hard links, or copies where the file system allows no link. Links are
// followed. When this returns OK, the files and the directory are durable; after an error nothing
// is left. NOT_FOUND if there is no `source`, or no longer one in the end: what RemoveDirectory()
// removes meanwhile is linked completely or not at all.
absl::Status LinkFiles(const std::string& source, const std::string& target);

// Removes the directories of versions in `directory` whose names are not in `kept`. Returns their
// names. What cannot be removed is left in place.
std::vector<std::string> RemoveOtherVersions(const std::string& directory,
                                             const std::set<std::string>& kept);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_VERSION_FILES_H_
