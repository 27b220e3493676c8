// The process_* metrics that all Prometheus client libraries provide. All but the start time are
// read from the system at each scrape.
#ifndef WHIPSNAKE_SERVER_METRICS_PROCESS_METRICS_H_
#define WHIPSNAKE_SERVER_METRICS_PROCESS_METRICS_H_

#include "server/metrics/registry.h"

namespace whipsnake::server {

void AddProcessMetrics(MetricsRegistry& registry);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_METRICS_PROCESS_METRICS_H_
