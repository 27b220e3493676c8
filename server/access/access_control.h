// Decides who calls, and what they may do.
#ifndef WHIPSNAKE_SERVER_ACCESS_ACCESS_CONTROL_H_
#define WHIPSNAKE_SERVER_ACCESS_ACCESS_CONTROL_H_

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/access/caller.h"

namespace whipsnake::server {

// Thread-safe; nothing waits.
class AccessControl {
 public:
  // What a request presents. Empty texts: nothing.
  struct Credentials {
    std::string_view authorization = {};     // the header or metadata of that name
    std::string_view certificate_name = {};  // the common name of the client certificate, if verified
  };

  // The result for one request. A caller who is known but lacks the scope is named.
  struct Decision {
    Caller caller;
    absl::Status status;
  };
  // Whether a request may call `what`, a method or a path, which asks for `needed`.
  Decision Decide(const Credentials& credentials, Scope needed, std::string_view what) const;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ACCESS_ACCESS_CONTROL_H_
