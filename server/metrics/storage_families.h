// The metrics of what the server keeps: saved states, data sets, and the disk beneath them.
#ifndef WHIPSNAKE_SERVER_METRICS_STORAGE_FAMILIES_H_
#define WHIPSNAKE_SERVER_METRICS_STORAGE_FAMILIES_H_

#include "server/metrics/registry.h"

namespace whipsnake::server {

struct StorageFamilies {
  explicit StorageFamilies(MetricsRegistry& registry);

  Family<Computed>& saved_states;         // (none)
  Family<Computed>& saved_state_bytes;    // place
  Family<Computed>& datasets;             // state
  Family<Computed>& dataset_bytes;        // (none)
  Family<Counter>& dataset_uploads;       // result
  Family<Computed>& data_directory_size;  // (none)
  Family<Computed>& data_directory_free;  // (none)
  Family<Computed>& data_directory_used;  // part
  Family<Computed>& disk_errors;          // kind
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_METRICS_STORAGE_FAMILIES_H_
