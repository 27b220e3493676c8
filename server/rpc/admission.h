// Decides for every call, before its handler runs, who calls and whether they may.
#ifndef WHIPSNAKE_SERVER_RPC_ADMISSION_H_
#define WHIPSNAKE_SERVER_RPC_ADMISSION_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <string>
#include <vector>

#include "server/access/access_control.h"

namespace whipsnake::server {

// For ServerBuilder::experimental().SetInterceptorCreators, together with MakeCallContexts: fills
// the CallContext of every call of these services, which are given by their full names, by the
// scopes of their methods (rpc/method_scopes.h). The handlers refuse the calls that are not
// admitted. `access` must outlive the server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeAdmission(
    const AccessControl& access, const std::vector<std::string>& services);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_ADMISSION_H_
