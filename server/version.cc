#include "server/version.h"

namespace whipsnake::server {

std::string_view Version() { return WHIPSNAKE_VERSION; }

std::string_view Commit() { return WHIPSNAKE_COMMIT; }

bool BuiltWithCuda() { return WHIPSNAKE_BUILT_WITH_CUDA; }

}  // namespace whipsnake::server
