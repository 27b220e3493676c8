// Counts and times every RPC of every service, health and reflection included.
#ifndef WHIPSNAKE_SERVER_RPC_RPC_METRICS_H_
#define WHIPSNAKE_SERVER_RPC_RPC_METRICS_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>

#include "server/metrics/metrics.h"

namespace whipsnake::server {

// For ServerBuilder::experimental().SetInterceptorCreators. `metrics` outlives the server. Only
// registered methods reach an interceptor, so the labels are bounded.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeRpcMetrics(
    Metrics& metrics);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_RPC_METRICS_H_
