#include "server/metrics/model_families.h"

#include "server/metrics/labels.h"

namespace whipsnake::server {
namespace {

// OpenTelemetry's buckets for the time to first token, and three more for CPUs.
const std::vector<double> kFirstTokenSeconds = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08,
                                                0.1,   0.25,  0.5,  0.75, 1,    2.5,  5,
                                                7.5,   10,    20,   40,   80};
const std::vector<double> kInterTokenSeconds = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5};
const std::vector<double> kStepSeconds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                          0.05,   0.1,   0.25,   0.5,   1,    2.5};
const std::vector<double> kTokens = DoublingBounds(1, 16);    // 1 to 32768
const std::vector<double> kSequences = DoublingBounds(1, 9);  // 1 to 256

LabelDescription KindLabel() { return {.name = "kind", .values = {"generate"}}; }

// Begins the group while the first family is made.
MetricsRegistry& BeginModelGroup(MetricsRegistry& registry) {
  registry.BeginGroup("Models and requests");
  return registry;
}

}  // namespace

ModelFamilies::ModelFamilies(MetricsRegistry& registry)
    : requests_running(BeginModelGroup(registry).AddComputedGauge(
          {.name = "whipsnake_requests_running",
           .help = "Sequences that the engine is working on; a request with n completions has up "
                   "to n.",
           .unit = "sequences",
           .labels = {ModelLabel(), KindLabel()}})),
      requests_waiting(registry.AddComputedGauge(
          {.name = "whipsnake_requests_waiting",
           .help = "Sequences in the engine's queue, including those that have run before and were "
                   "preempted.",
           .unit = "sequences",
           .labels = {ModelLabel(), KindLabel()},
           .example = "sum by (model) (whipsnake_requests_waiting)"})),
      requests_rejected(registry.AddCounter(
          {.name = "whipsnake_requests_rejected_total",
           .help =
               "Requests for a model that were refused before they were queued: invalid (bad "
               "parameters), queue_full (too many requests, or no memory for one), draining, or "
               "other.",
           .unit = "requests",
           .labels = {ModelLabel(),
                      {.name = "reason", .values = {"invalid", "queue_full", "draining", "other"}}},
           .example = "sum by (model) (rate(whipsnake_requests_rejected_total"
                      "{reason=\"queue_full\"}[5m]))"})),
      requests_finished(registry.AddCounter(
          {.name = "whipsnake_requests_finished_total",
           .help = "Requests that were queued and have ended, by what ended them: eos, length or "
                   "stop of the first completion; the client cancelled; the deadline passed; or an "
                   "error of the engine.",
           .unit = "requests",
           .labels = {ModelLabel(),
                      {.name = "reason",
                       .values = {"eos", "length", "stop", "cancelled", "deadline", "error"}}},
           .example = "sum by (model) (rate(whipsnake_requests_finished_total[5m]))"})),
      time_to_first_token(registry.AddHistogram(
          {.name = "whipsnake_time_to_first_token_seconds",
           .help =
               "From the arrival of the RPC, so queueing and prefill included, to the request's "
               "first token, in seconds.",
           .unit = "seconds",
           .labels = {ModelLabel()},
           .example = "histogram_quantile(0.95, sum by (model, le) "
                      "(rate(whipsnake_time_to_first_token_seconds_bucket[5m])))"},
          kFirstTokenSeconds)),
      inter_token_latency(registry.AddHistogram(
          {.name = "whipsnake_inter_token_latency_seconds",
           .help = "Between one token of a completion and its next, in seconds.",
           .unit = "seconds",
           .labels = {ModelLabel()}},
          kInterTokenSeconds)),
      request_duration(registry.AddHistogram(
          {.name = "whipsnake_request_duration_seconds",
           .help =
               "From the arrival of the RPC to the end of its generation, in seconds; cancelled "
               "requests included.",
           .unit = "seconds",
           .labels = {ModelLabel(), KindLabel()}},
          DurationBounds())),
      queue_duration(registry.AddHistogram(
          {.name = "whipsnake_queue_duration_seconds",
           .help = "From the arrival of the RPC to the start of its prefill, in seconds.",
           .unit = "seconds",
           .labels = {ModelLabel()}},
          DurationBounds())),
      prefill_duration(registry.AddHistogram(
          {.name = "whipsnake_prefill_duration_seconds",
           .help = "From the start of a request's prefill to its first token, in seconds; of "
                   "requests that have one.",
           .unit = "seconds",
           .labels = {ModelLabel()}},
          DurationBounds())),
      decode_duration(registry.AddHistogram(
          {.name = "whipsnake_decode_duration_seconds",
           .help = "From a request's first token to its last, in seconds; of requests that have "
                   "one.",
           .unit = "seconds",
           .labels = {ModelLabel()}},
          DurationBounds())),
      prompt_tokens(
          registry.AddCounter({.name = "whipsnake_prompt_tokens_total",
                               .help = "Prompt tokens of requests that were queued; counted when "
                                       "the request ends.",
                               .unit = "tokens",
                               .labels = {ModelLabel()}})),
      cached_prompt_tokens(registry.AddCounter(
          {.name = "whipsnake_cached_prompt_tokens_total",
           .help = "Those of the prompt tokens that needed no computation, because a state of the "
                   "prefix cache had seen them.",
           .unit = "tokens",
           .labels = {ModelLabel()},
           .example = "sum by (model) (rate(whipsnake_cached_prompt_tokens_total[5m])) / sum by "
                      "(model) (rate(whipsnake_prompt_tokens_total[5m]))"})),
      generated_tokens(registry.AddCounter(
          {.name = "whipsnake_generated_tokens_total",
           .help =
               "Tokens of all completions of requests; counted when the request ends, cancelled "
               "ones included.",
           .unit = "tokens",
           .labels = {ModelLabel()},
           .example = "sum by (model) (rate(whipsnake_generated_tokens_total[1m]))"})),
      request_prompt_tokens(
          registry.AddHistogram({.name = "whipsnake_request_prompt_tokens",
                                 .help = "Prompt tokens of a request that has ended.",
                                 .unit = "tokens",
                                 .labels = {ModelLabel()}},
                                kTokens)),
      request_generated_tokens(
          registry.AddHistogram({.name = "whipsnake_request_generated_tokens",
                                 .help = "Tokens of all completions of a request that has ended.",
                                 .unit = "tokens",
                                 .labels = {ModelLabel()}},
                                kTokens)),
      batch_size(registry.AddHistogram(
          {.name = "whipsnake_batch_size",
           .help = "Sequences of a forward pass that read their prompts (prefill), and that "
                   "continue their texts (decode); passes without any are not counted.",
           .unit = "sequences",
           .labels = {ModelLabel(), {.name = "phase", .values = {"prefill", "decode"}}}},
          kSequences)),
      engine_step_duration(registry.AddHistogram(
          {.name = "whipsnake_engine_step_duration_seconds",
           .help =
               "Duration of a forward pass, in seconds: prefill, decode, or mixed where it does "
               "both.",
           .unit = "seconds",
           .labels = {ModelLabel(),
                      {.name = "phase", .values = {"prefill", "decode", "mixed"}},
                      DeviceLabel()}},
          kStepSeconds)),
      state_slots_used(registry.AddComputedGauge(
          {.name = "whipsnake_state_slots_used",
           .help = "Sequences that are running in the batch.",
           .unit = "sequences",
           .labels = {ModelLabel()},
           .example = "whipsnake_state_slots_used / whipsnake_state_slots_limit"})),
      state_slots_limit(
          registry.AddComputedGauge({.name = "whipsnake_state_slots_limit",
                                     .help = "Maximum number of sequences that run in the batch.",
                                     .unit = "sequences",
                                     .labels = {ModelLabel()}})),
      state_bytes(registry.AddComputedGauge(
          {.name = "whipsnake_state_bytes",
           .help = "States of sequences that are running or preempted, of whatever kind.",
           .unit = "bytes",
           .labels = {ModelLabel(), DeviceLabel()}})),
      kv_cache_bytes(registry.AddComputedGauge(
          {.name = "whipsnake_kv_cache_bytes",
           .help = "Those of the state bytes that are keys and values: all of them for a "
                   "transformer. Recurrent models have no such series.",
           .unit = "bytes",
           .labels = {ModelLabel(), DeviceLabel()}})),
      state_cache_bytes(
          registry.AddComputedGauge({.name = "whipsnake_state_cache_bytes",
                                     .help = "States kept in the prefix cache, and their tokens.",
                                     .unit = "bytes",
                                     .labels = {ModelLabel(), DeviceLabel()}})),
      state_cache_lookups(registry.AddCounter(
          {.name = "whipsnake_state_cache_lookups_total",
           .help =
               "Lookups of prompts in the prefix cache: hit, where a prefix was found, or miss.",
           .unit = "lookups",
           .labels = {ModelLabel(), {.name = "result", .values = {"hit", "miss"}}}})),
      model_state(registry.AddGauge(
          {.name = "whipsnake_model_state",
           .help = "1 for the model's current state, else 0: loading, ready, unloading or failed.",
           .unit = "0 or 1",
           .labels = {ModelLabel(),
                      {.name = "state", .values = {"loading", "ready", "unloading", "failed"}}},
           .example = "whipsnake_model_state{state=\"ready\"} == 0"})),
      model_load_duration(
          registry.AddHistogram({.name = "whipsnake_model_load_duration_seconds",
                                 .help = "Duration of a load that succeeded, in seconds.",
                                 .unit = "seconds",
                                 .labels = {ModelLabel()}},
                                DurationBounds())),
      weights_bytes(registry.AddGauge(
          {.name = "whipsnake_weights_bytes",
           .help = "Size of the weights in memory.",
           .unit = "bytes",
           .labels = {ModelLabel(),
                      DeviceLabel(),
                      {.name = "scheme", .meaning = "how they are stored, such as `fp32`"}}})) {}

}  // namespace whipsnake::server
