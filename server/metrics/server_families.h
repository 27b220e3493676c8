// The metrics of the process as a whole: RPCs, connections, memory, computing, the log.
#ifndef WHIPSNAKE_SERVER_METRICS_SERVER_FAMILIES_H_
#define WHIPSNAKE_SERVER_METRICS_SERVER_FAMILIES_H_

#include "server/metrics/registry.h"

namespace whipsnake::server {

struct ServerFamilies {
  explicit ServerFamilies(MetricsRegistry& registry);

  Family<Gauge>& build_info;                  // version, commit, isa, cuda
  Family<Gauge>& draining;                    // (none)
  Family<Counter>& rpc_requests;              // method, code
  Family<Histogram>& rpc_duration;            // method
  Family<Gauge>& rpcs_in_progress;            // method
  Family<Computed>& connections;              // port
  Family<Computed>& connections_limit;        // port
  Family<Computed>& connections_turned_away;  // port
  Family<Computed>& device_memory_used;       // device
  Family<Computed>& device_memory_purpose;    // device, purpose
  Family<Computed>& device_memory_limit;      // device
  Family<Computed>& compute_time;             // work
  Family<Computed>& log_lines;                // level
  Family<Computed>& log_lines_dropped;        // (none)
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_METRICS_SERVER_FAMILIES_H_
