// Checks the names and labels that clients choose.
#ifndef WHIPSNAKE_SERVER_CLIENT_NAMES_H_
#define WHIPSNAKE_SERVER_CLIENT_NAMES_H_

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace whipsnake::server {

// Returns INVALID_ARGUMENT with the field unless the name is 1 to 63 characters of a-z, 0-9, '-',
// '_' and '.', starting with a letter or digit.
absl::Status CheckName(std::string_view field, std::string_view name);

// Returns INVALID_ARGUMENT with the field "labels" unless there are at most 64, with keys of 1 to
// 63 and values of at most 255 bytes.
absl::Status CheckLabels(const std::map<std::string, std::string>& labels);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLIENT_NAMES_H_
