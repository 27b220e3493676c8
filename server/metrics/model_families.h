// The metrics of models and of the requests for them.
#ifndef WHIPSNAKE_SERVER_METRICS_MODEL_FAMILIES_H_
#define WHIPSNAKE_SERVER_METRICS_MODEL_FAMILIES_H_

#include "server/metrics/registry.h"

namespace whipsnake::server {

struct ModelFamilies {
  explicit ModelFamilies(MetricsRegistry& registry);

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
  Family<Computed>& kv_cache_bytes;             // model, device
  Family<Computed>& state_cache_bytes;          // model, device
  Family<Counter>& state_cache_lookups;         // model, result
  Family<Gauge>& model_state;                   // model, state
  Family<Histogram>& model_load_duration;       // model
  Family<Gauge>& weights_bytes;                 // model, device, scheme
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_METRICS_MODEL_FAMILIES_H_
