// Who makes a request.
#ifndef WHIPSNAKE_SERVER_ACCESS_CALLER_H_
#define WHIPSNAKE_SERVER_ACCESS_CALLER_H_

#include <string>

#include "server/access/scope.h"

namespace whipsnake::server {

// A value. Nobody at first: without a name, and without scopes.
struct Caller {
  // Of the entry in the file of tokens: 1 to 64 letters, digits, '.', '_' and '-'. "" if the server
  // has no tokens, and for a caller of an open method who presents no valid token.
  std::string name;
  ScopeSet scopes;

  bool IsAdmin() const { return scopes.Contains(Scope::kAdmin); }

  // The caller of a server that has no tokens.
  static Caller Everyone() { return {.name = "", .scopes = ScopeSet::All()}; }
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ACCESS_CALLER_H_
