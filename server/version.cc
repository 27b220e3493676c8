#include "server/version.h"

namespace whipsnake::server {

std::string_view Version() { return WHIPSNAKE_VERSION; }

std::string_view Commit() { return WHIPSNAKE_COMMIT; }

}  // namespace whipsnake::server
