// All metrics of the daemon, by name. Dashboards and alerts depend on the names, so
// tests/goldens/metrics.txt lists them; docs/metrics.md is made from their descriptions.
#ifndef WHIPSNAKE_SERVER_METRICS_METRICS_H_
#define WHIPSNAKE_SERVER_METRICS_METRICS_H_

#include "server/metrics/fine_tuning_families.h"
#include "server/metrics/model_families.h"
#include "server/metrics/process_metrics.h"
#include "server/metrics/registry.h"
#include "server/metrics/server_families.h"
#include "server/metrics/storage_families.h"

namespace whipsnake::server {

struct RegistryOfMetrics {
  MetricsRegistry registry;
};

// Labels have a bounded set of values: loaded models, existing methods, reasons of an enumeration.
// Request ids, users and prompts are never labels.
class Metrics : public RegistryOfMetrics,  // first, because it owns the families
                public ServerFamilies,
                public ModelFamilies,
                public StorageFamilies,
                public FineTuningFamilies {
 public:
  Metrics()
      : ServerFamilies(registry),
        ModelFamilies(registry),
        StorageFamilies(registry),
        FineTuningFamilies(registry) {
    AddProcessMetrics(registry);
  }
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_METRICS_METRICS_H_
