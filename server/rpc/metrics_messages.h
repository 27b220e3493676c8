// Metrics as messages of the API.
#ifndef WHIPSNAKE_SERVER_RPC_METRICS_MESSAGES_H_
#define WHIPSNAKE_SERVER_RPC_METRICS_MESSAGES_H_

#include <prometheus/metric_family.h>

#include "whipsnake/v1/metrics.pb.h"

namespace whipsnake::server {

v1::MetricFamily ToProto(const prometheus::MetricFamily& family);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_METRICS_MESSAGES_H_
