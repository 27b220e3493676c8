// The scope that each method asks for, as the API's definition says it.
#ifndef WHIPSNAKE_SERVER_RPC_METHOD_SCOPES_H_
#define WHIPSNAKE_SERVER_RPC_METHOD_SCOPES_H_

#include <google/protobuf/descriptor.h>

#include <map>
#include <string>
#include <vector>

#include "server/access/scope.h"

namespace whipsnake::server {

// What `option (whipsnake.v1.scope)` says; kAdmin if the method has no such option. The methods of
// the standard health service, which has none, are open, because probes have no token.
Scope ScopeOf(const google::protobuf::MethodDescriptor& method);

// By name ("whipsnake.v1.GenerationService/Generate"), of the services with these full names.
// Services that the program has no definition of are left out.
using MethodScopes = std::map<std::string, Scope, std::less<>>;
MethodScopes ScopesOf(const std::vector<std::string>& services);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_METHOD_SCOPES_H_
