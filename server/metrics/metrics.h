// All metrics of the daemon, by name. Dashboards and alerts depend on the names, so a test lists
// them.
#ifndef WHIPSNAKE_SERVER_METRICS_METRICS_H_
#define WHIPSNAKE_SERVER_METRICS_METRICS_H_

#include <string>

#include "server/metrics/registry.h"

namespace whipsnake::server {

// Labels have a bounded set of values: loaded models, existing methods, reasons of an enumeration.
// Request ids, users and prompts are never labels.
class Metrics {
 public:
  Metrics();

  MetricsRegistry registry;  // first, because it owns the families below

  Family<Gauge>& build_info;                    // version, commit, isa, cuda
  Family<Counter>& rpc_requests;                // method, code
  Family<Histogram>& rpc_duration;              // method
  Family<Computed>& connections;                // port
  Family<Computed>& connections_turned_away;    // port
  Family<Computed>& requests_running;           // model, kind
  Family<Computed>& requests_waiting;           // model, kind
  Family<Counter>& requests_rejected;           // model, reason
  Family<Counter>& requests_finished;           // model, reason
  Family<Histogram>& time_to_first_token;       // model
  Family<Histogram>& inter_token_latency;       // model
  Family<Histogram>& request_duration;          // model, kind
  Family<Histogram>& queue_duration;            // model
  Family<Histogram>& prefill_duration;          // model
  Family<Histogram>& decode_duration;           // model
  Family<Counter>& prompt_tokens;               // model
  Family<Counter>& cached_prompt_tokens;        // model
  Family<Counter>& generated_tokens;            // model
  Family<Histogram>& request_prompt_tokens;     // model
  Family<Histogram>& request_generated_tokens;  // model
  Family<Histogram>& batch_size;                // model, phase
  Family<Histogram>& engine_step_duration;      // model, phase, device
  Family<Computed>& state_slots_used;           // model
  Family<Computed>& state_slots_limit;          // model
  Family<Computed>& state_bytes;                // model, device
  Family<Computed>& state_cache_bytes;          // model, device
  Family<Counter>& state_cache_lookups;         // model, result
  Family<Computed>& saved_states;               // (none)
  Family<Computed>& saved_state_bytes;          // place
  Family<Counter>& dataset_uploads;             // result
  Family<Computed>& dataset_bytes;              // (none)
  Family<Computed>& datasets;                   // state
  Family<Gauge>& model_state;                   // model, state
  Family<Histogram>& model_load_duration;       // model
  Family<Gauge>& weights_bytes;                 // model, device, scheme
  Family<Gauge>& finetune_jobs;                 // state
  Family<Counter>& finetune_job_transitions;    // to, reason
  Family<Histogram>& finetune_queue_duration;   // (none)
  Family<Histogram>& finetune_step_duration;    // phase
  Family<Counter>& finetune_steps;              // base_model
  Family<Counter>& finetune_samples;            // base_model
  Family<Counter>& finetune_tokens;             // base_model
  Family<Counter>& finetune_checkpoints;        // (none)
  Family<Gauge>& finetune_job_info;             // slot, job, base_model
  Family<Gauge>& finetune_progress;             // slot
  Family<Gauge>& finetune_loss;                 // slot, split
  Family<Gauge>& finetune_frozen_ratio;         // slot
  Family<Gauge>& finetune_reserved_bytes;       // slot, device
  Family<Gauge>& finetune_peak_memory;          // slot, device
  Family<Gauge>& finetune_activation_bytes;     // slot, device
  Family<Gauge>& finetune_moment_bytes;         // slot, device
  Family<Computed>& finetune_preemptions;       // reason
  Family<Computed>& compute_time;               // work
  Family<Gauge>& quantizations_running;         // (none)
  Family<Gauge>& quantizations_waiting;         // (none)
  Family<Counter>& quantizations;               // result
  Family<Computed>& device_memory_used;         // device
  Family<Computed>& device_memory_purpose;      // device, purpose
  Family<Computed>& device_memory_limit;        // device
  Family<Gauge>& draining;                      // (none)
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_METRICS_METRICS_H_
