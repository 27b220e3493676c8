// Counts and times every RPC of every service, including health and reflection.
#ifndef WHIPSNAKE_SERVER_RPC_RPC_METRICS_H_
#define WHIPSNAKE_SERVER_RPC_RPC_METRICS_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <string>
#include <vector>

#include "server/metrics/metrics.h"

namespace whipsnake::server {

// For ServerBuilder::experimental().SetInterceptorCreators. `metrics` must outlive the server.
// `services` are the full names of the services; their methods become labels. Calls of any other
// method are counted under the label "unknown".
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeRpcMetrics(
    Metrics& metrics, const std::vector<std::string>& services);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_RPC_METRICS_H_
