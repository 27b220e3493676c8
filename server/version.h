// The version of this build.
#ifndef WHIPSNAKE_SERVER_VERSION_H_
#define WHIPSNAKE_SERVER_VERSION_H_

#include <string_view>

namespace whipsnake::server {

std::string_view Version();  // "0.1.0"
std::string_view Commit();   // git's short hash, or "unknown" if built without git

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_VERSION_H_
