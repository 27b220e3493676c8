#include "server/metrics/metrics.h"

#include "server/metrics/process_metrics.h"

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

// Returns `count` bounds, each twice the previous one.
std::vector<double> Doubling(double first, int count) {
  std::vector<double> bounds;
  for (int i = 0; i < count; ++i, first *= 2) bounds.push_back(first);
  return bounds;
}

const std::vector<double> kDurationSeconds = Doubling(0.01, 14);  // 10 ms to 82 s
const std::vector<double> kJobSeconds = Doubling(0.01, 20);       // 10 ms to 1.5 hours
const std::vector<double> kTokens = Doubling(1, 16);              // 1 to 32768
const std::vector<double> kSequences = Doubling(1, 9);            // 1 to 256

}  // namespace

Metrics::Metrics()
    : build_info(registry.AddGauge("whipsnake_build_info",
                                   "Version and build of the running server; always 1.",
                                   {"version", "commit", "isa", "cuda"})),
      rpc_requests(registry.AddCounter("whipsnake_rpc_requests_total",
                                       "RPCs that ended, by method and gRPC status code.",
                                       {"method", "code"})),
      rpc_duration(registry.AddHistogram(
          "whipsnake_rpc_duration_seconds",
          "From the arrival of an RPC to the sending of its status, in seconds.", {"method"},
          kDurationSeconds)),
      connections(registry.AddComputed(
          "whipsnake_connections", "Connections that are open, by port: grpc or http.", {"port"})),
      connections_turned_away(registry.AddComputed(
          "whipsnake_connections_turned_away_total",
          "Connections that were refused (grpc), or closed in favor of a newer one (http), because "
          "the limit was reached.",
          {"port"}, prometheus::MetricType::Counter)),
      requests_running(registry.AddComputed("whipsnake_requests_running",
                                            "Requests that the engine is working on.",
                                            {"model", "kind"})),
      requests_waiting(registry.AddComputed("whipsnake_requests_waiting",
                                            "Requests in the engine's queue.", {"model", "kind"})),
      requests_rejected(registry.AddCounter(
          "whipsnake_requests_rejected_total",
          "Requests for a model that were refused before they were queued: invalid, queue_full, "
          "draining or other.",
          {"model", "reason"})),
      requests_finished(registry.AddCounter(
          "whipsnake_requests_finished_total",
          "Requests that were queued and have ended: eos, length, stop, cancelled, deadline or "
          "error.",
          {"model", "reason"})),
      time_to_first_token(registry.AddHistogram(
          "whipsnake_time_to_first_token_seconds",
          "From the arrival of the RPC, so queueing and prefill included, to the request's first "
          "token, in seconds.",
          {"model"}, kFirstTokenSeconds)),
      inter_token_latency(
          registry.AddHistogram("whipsnake_inter_token_latency_seconds",
                                "Between one token of a request and its next, in seconds.",
                                {"model"}, kInterTokenSeconds)),
      request_duration(registry.AddHistogram(
          "whipsnake_request_duration_seconds",
          "From the arrival of the RPC to the end of its generation, in seconds; cancelled "
          "requests included.",
          {"model", "kind"}, kDurationSeconds)),
      queue_duration(registry.AddHistogram(
          "whipsnake_queue_duration_seconds",
          "From the arrival of the RPC to the start of its prefill, in seconds.", {"model"},
          kDurationSeconds)),
      prefill_duration(
          registry.AddHistogram("whipsnake_prefill_duration_seconds",
                                "From the start of a request's prefill to its end, in seconds.",
                                {"model"}, kDurationSeconds)),
      decode_duration(registry.AddHistogram("whipsnake_decode_duration_seconds",
                                            "From a request's first token to its last, in seconds.",
                                            {"model"}, kDurationSeconds)),
      prompt_tokens(registry.AddCounter("whipsnake_prompt_tokens_total",
                                        "Prompt tokens of requests that ended.", {"model"})),
      cached_prompt_tokens(registry.AddCounter(
          "whipsnake_cached_prompt_tokens_total",
          "Prompt tokens of requests that ended which needed no computation.", {"model"})),
      generated_tokens(registry.AddCounter("whipsnake_generated_tokens_total",
                                           "Tokens generated for requests that ended.", {"model"})),
      request_prompt_tokens(registry.AddHistogram(
          "whipsnake_request_prompt_tokens", "Prompt tokens of a request.", {"model"}, kTokens)),
      request_generated_tokens(registry.AddHistogram("whipsnake_request_generated_tokens",
                                                     "Tokens generated for a request.", {"model"},
                                                     kTokens)),
      batch_size(registry.AddHistogram("whipsnake_batch_size",
                                       "Sequences in a forward pass: prefill or decode.",
                                       {"model", "phase"}, kSequences)),
      engine_step_duration(
          registry.AddHistogram("whipsnake_engine_step_duration_seconds",
                                "Duration of a forward pass, in seconds: prefill, decode, or "
                                "mixed where it does both.",
                                {"model", "phase", "device"}, kStepSeconds)),
      state_slots_used(registry.AddComputed("whipsnake_state_slots_used",
                                            "Sequences that are running in the batch.", {"model"})),
      state_slots_limit(registry.AddComputed("whipsnake_state_slots_limit",
                                             "Maximum number of sequences that run in the batch.",
                                             {"model"})),
      state_bytes(registry.AddComputed("whipsnake_state_bytes",
                                       "States of sequences that are running or preempted.",
                                       {"model", "device"})),
      state_cache_bytes(registry.AddComputed(
          "whipsnake_state_cache_bytes", "States kept in the prefix cache.", {"model", "device"})),
      state_cache_lookups(
          registry.AddCounter("whipsnake_state_cache_lookups_total",
                              "Lookups of prompts in the prefix cache: hit, where a "
                              "prefix was found, or miss.",
                              {"model", "result"})),
      saved_states(registry.AddComputed("whipsnake_saved_states",
                                        "States that clients have saved and not deleted.", {})),
      saved_state_bytes(registry.AddComputed("whipsnake_saved_state_bytes",
                                             "Bytes of saved states, in memory and on disk.",
                                             {"place"})),
      dataset_uploads(registry.AddCounter(
          "whipsnake_dataset_uploads_total",
          "Uploads of data sets that ended: complete, cut_off, wrong_data or storage_error.",
          {"result"})),
      dataset_bytes(registry.AddComputed("whipsnake_dataset_bytes",
                                         "Bytes that have been received of all data sets.", {})),
      datasets(registry.AddComputed("whipsnake_datasets",
                                    "Data sets by state: uploading, validating, ready or invalid.",
                                    {"state"})),
      model_state(registry.AddGauge(
          "whipsnake_model_state",
          "1 for the model's current state, else 0: loading, ready, unloading or failed.",
          {"model", "state"})),
      model_load_duration(registry.AddHistogram("whipsnake_model_load_duration_seconds",
                                                "Duration of a load that succeeded, in seconds.",
                                                {"model"}, kDurationSeconds)),
      weights_bytes(registry.AddGauge("whipsnake_weights_bytes", "Size of the weights in memory.",
                                      {"model", "device", "scheme"})),
      finetune_jobs(
          registry.AddGauge("whipsnake_finetune_jobs", "Fine-tuning jobs by state.", {"state"})),
      finetune_job_transitions(registry.AddCounter(
          "whipsnake_finetune_job_transitions_total",
          "Changes of the state of fine-tuning jobs, by the new state and by what made them: "
          "progress, client, shutdown or failure.",
          {"to", "reason"})),
      finetune_queue_duration(registry.AddHistogram(
          "whipsnake_finetune_queue_duration_seconds",
          "Time from the creation of a fine-tuning job to its first start, in seconds.", {},
          kJobSeconds)),
      finetune_step_duration(registry.AddHistogram(
          "whipsnake_finetune_step_duration_seconds",
          "Duration of a step (train) or an evaluation (evaluate) of fine-tuning, in seconds.",
          {"phase"}, kJobSeconds)),
      finetune_steps(registry.AddCounter("whipsnake_finetune_steps_total",
                                         "Steps of fine-tuning, by the model that jobs begin with.",
                                         {"base_model"})),
      finetune_samples(registry.AddCounter("whipsnake_finetune_samples_total",
                                           "Examples of steps of fine-tuning; a window of packed "
                                           "texts is one.",
                                           {"base_model"})),
      finetune_tokens(registry.AddCounter("whipsnake_finetune_tokens_total",
                                          "Tokens of steps of fine-tuning.", {"base_model"})),
      finetune_checkpoints(registry.AddCounter("whipsnake_finetune_checkpoints_total",
                                               "Checkpoints that fine-tuning jobs wrote.", {})),
      finetune_job_info(registry.AddGauge(
          "whipsnake_finetune_job_info",
          "1 for each running fine-tuning job: its slot, which the other series have, its id and "
          "the model that it begins with.",
          {"slot", "job", "base_model"})),
      finetune_progress(registry.AddGauge("whipsnake_finetune_progress_ratio",
                                          "The part of a running job's steps that is done.",
                                          {"slot"})),
      finetune_loss(
          registry.AddGauge("whipsnake_finetune_loss",
                            "Loss of a running job's last step (train) or last evaluation (eval).",
                            {"slot", "split"})),
      finetune_frozen_ratio(registry.AddGauge(
          "whipsnake_finetune_frozen_ratio",
          "The part of the layers that did not train in a running job's last step.", {"slot"})),
      finetune_reserved_bytes(registry.AddGauge("whipsnake_finetune_reserved_bytes",
                                                "Memory that is reserved for a running job.",
                                                {"slot", "device"})),
      finetune_peak_memory(registry.AddGauge(
          "whipsnake_finetune_peak_memory_bytes",
          "The most memory that a running job has had, of that which is reserved for it.",
          {"slot", "device"})),
      finetune_activation_bytes(registry.AddGauge(
          "whipsnake_finetune_activation_bytes",
          "Activations, gradients and temporary matrices of a running job's last step, at their "
          "highest.",
          {"slot", "device"})),
      finetune_moment_bytes(registry.AddGauge("whipsnake_finetune_moment_bytes",
                                              "Moments of a running job's optimizer.",
                                              {"slot", "device"})),
      finetune_preemptions(registry.AddComputed(
          "whipsnake_finetune_preemptions_total",
          "Times that training (which includes quantization) stopped within a step and let other "
          "work run, by that work: serving.",
          {"reason"}, prometheus::MetricType::Counter)),
      compute_time(registry.AddComputed(
          "whipsnake_compute_seconds_total",
          "Time that the compute thread worked for serving and for training (which includes "
          "quantization), in seconds.",
          {"work"}, prometheus::MetricType::Counter)),
      quantizations_running(registry.AddGauge("whipsnake_quantizations_running",
                                              "Quantizations that are running: 0 or 1.", {})),
      quantizations_waiting(registry.AddGauge("whipsnake_quantizations_waiting",
                                              "Quantizations that are queued.", {})),
      quantizations(registry.AddCounter("whipsnake_quantizations_total",
                                        "Quantizations that ended: succeeded, failed or cancelled.",
                                        {"result"})),
      device_memory_used(registry.AddComputed(
          "whipsnake_device_memory_used_bytes",
          "Memory that the engine has reserved: weights, states, activations, workspace.",
          {"device"})),
      device_memory_purpose(registry.AddComputed("whipsnake_device_memory_purpose_bytes",
                                                 "Memory that the engine has reserved, by purpose.",
                                                 {"device", "purpose"})),
      device_memory_limit(registry.AddComputed("whipsnake_device_memory_limit_bytes",
                                               "Memory that the engine may reserve; 0: no limit.",
                                               {"device"})),
      draining(registry.AddGauge("whipsnake_draining", "1 once the server accepts no new requests.",
                                 {})) {
  draining.With({}).Set(0);
  AddProcessMetrics(registry);
}

}  // namespace whipsnake::server
