// The metrics of fine-tuning and quantization.
#ifndef WHIPSNAKE_SERVER_METRICS_FINE_TUNING_FAMILIES_H_
#define WHIPSNAKE_SERVER_METRICS_FINE_TUNING_FAMILIES_H_

#include "server/metrics/registry.h"

namespace whipsnake::server {

// A running job has the lowest slot that is free when it starts.
struct FineTuningFamilies {
  explicit FineTuningFamilies(MetricsRegistry& registry);

  Family<Gauge>& finetune_jobs;                // state
  Family<Counter>& finetune_job_transitions;   // to, reason
  Family<Histogram>& finetune_queue_duration;  // (none)
  Family<Histogram>& finetune_step_duration;   // base_model, phase
  Family<Counter>& finetune_steps;             // base_model
  Family<Counter>& finetune_samples;           // base_model
  Family<Counter>& finetune_tokens;            // base_model
  Family<Counter>& finetune_checkpoints;       // result
  Family<Computed>& finetune_preemptions;      // reason
  Family<Gauge>& finetune_job_info;            // slot, job, base_model
  Family<Gauge>& finetune_last_progress;       // slot
  Family<Gauge>& finetune_progress;            // slot
  Family<Gauge>& finetune_loss;                // slot, split
  Family<Gauge>& finetune_frozen_ratio;        // slot
  Family<Gauge>& finetune_reserved_bytes;      // slot, device
  Family<Gauge>& finetune_peak_memory;         // slot, device
  Family<Gauge>& finetune_activation_bytes;    // slot, device
  Family<Gauge>& finetune_moment_bytes;        // slot, device
  Family<Gauge>& quantizations_running;        // (none)
  Family<Gauge>& quantizations_waiting;        // (none)
  Family<Counter>& quantizations;              // result
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_METRICS_FINE_TUNING_FAMILIES_H_
