// Counts and times every RPC of every service, health and reflection included.
#ifndef WHIPSNAKE_SERVER_RPC_RPC_METRICS_H_
#define WHIPSNAKE_SERVER_RPC_RPC_METRICS_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <string>
#include <vector>

#include "server/metrics/metrics.h"

namespace whipsnake::server {

// For ServerBuilder::experimental().SetInterceptorCreators. `metrics` outlives the server.
// `services`: the full names of those that are served, whose methods are labels; all that a client
// calls otherwise is counted under the one label "unknown".
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeRpcMetrics(
    Metrics& metrics, const std::vector<std::string>& services);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_RPC_METRICS_H_
