#include "server/access/access_control.h"

namespace whipsnake::server {

AccessControl::Decision AccessControl::Decide(const Credentials&, Scope, std::string_view) const {
  return {.caller = Caller::Everyone(), .status = absl::OkStatus()};
}

}  // namespace whipsnake::server
