#include "server/metrics/fine_tuning_families.h"

#include "server/metrics/labels.h"

namespace whipsnake::server {
namespace {

const std::vector<double> kJobSeconds = DoublingBounds(0.01, 20);  // 10 ms to 1.5 hours

LabelDescription SlotLabel() {
  return {.name = "slot",
          .meaning =
              "the number of a running job, from 0; "
              "`whipsnake_finetune_job_info` names the job"};
}

LabelDescription BaseModelLabel() {
  return {.name = "base_model",
          .meaning =
              "the model that a job begins with, as its request names it; `other` beyond 50 "
              "different ones"};
}

LabelDescription StateLabel(std::string name) {
  return {.name = std::move(name),
          .values = {"validating", "queued", "running", "pausing", "paused", "cancelling",
                     "succeeded", "failed", "cancelled"}};
}

// Begins the group while the first family is made.
MetricsRegistry& BeginFineTuningGroup(MetricsRegistry& registry) {
  registry.BeginGroup("Fine-tuning and quantization");
  return registry;
}

}  // namespace

FineTuningFamilies::FineTuningFamilies(MetricsRegistry& registry)
    : finetune_jobs(BeginFineTuningGroup(registry).AddGauge(
          {.name = "whipsnake_finetune_jobs",
           .help = "Fine-tuning jobs by state, until they are deleted.",
           .unit = "jobs",
           .labels = {StateLabel("state")}})),
      finetune_job_transitions(registry.AddCounter(
          {.name = "whipsnake_finetune_job_transitions_total",
           .help = "Changes of the state of fine-tuning jobs, by the new state and by what made "
                   "them: progress, client, shutdown or failure.",
           .unit = "changes",
           .labels = {StateLabel("to"),
                      {.name = "reason", .values = {"progress", "client", "shutdown", "failure"}}},
           .example = "increase(whipsnake_finetune_job_transitions_total{to=\"failed\"}[10m]) > "
                      "0"})),
      finetune_queue_duration(registry.AddHistogram(
          {.name = "whipsnake_finetune_queue_duration_seconds",
           .help = "From the creation of a fine-tuning job to its first start, in seconds.",
           .unit = "seconds"},
          kJobSeconds)),
      finetune_step_duration(registry.AddHistogram(
          {.name = "whipsnake_finetune_step_duration_seconds",
           .help = "Duration of a step (train) or an evaluation (evaluate) of fine-tuning, in "
                   "seconds, with the time that serving took in between.",
           .unit = "seconds",
           .labels = {BaseModelLabel(), {.name = "phase", .values = {"train", "evaluate"}}}},
          kJobSeconds)),
      finetune_steps(registry.AddCounter({.name = "whipsnake_finetune_steps_total",
                                          .help = "Steps of fine-tuning.",
                                          .unit = "steps",
                                          .labels = {BaseModelLabel()}})),
      finetune_samples(registry.AddCounter(
          {.name = "whipsnake_finetune_samples_total",
           .help = "Examples of steps of fine-tuning; a window of packed texts is one.",
           .unit = "examples",
           .labels = {BaseModelLabel()}})),
      finetune_tokens(
          registry.AddCounter({.name = "whipsnake_finetune_tokens_total",
                               .help = "Tokens of steps of fine-tuning.",
                               .unit = "tokens",
                               .labels = {BaseModelLabel()},
                               .example = "sum(rate(whipsnake_finetune_tokens_total[5m]))"})),
      finetune_checkpoints(registry.AddCounter(
          {.name = "whipsnake_finetune_checkpoints_total",
           .help = "Checkpoints of fine-tuning jobs that were written (succeeded), and that could "
                   "not be written or recorded (failed), which ends the attempt.",
           .unit = "checkpoints",
           .labels = {{.name = "result", .values = {"succeeded", "failed"}}},
           .example = "increase(whipsnake_finetune_checkpoints_total{result=\"failed\"}[10m]) > "
                      "0"})),
      finetune_preemptions(registry.AddComputedCounter(
          {.name = "whipsnake_finetune_preemptions_total",
           .help =
               "Times that training (which includes quantization) stopped within a step and let "
               "other work run, by that work: serving.",
           .unit = "times",
           .labels = {{.name = "reason", .values = {"serving"}}}})),
      finetune_job_info(registry.AddGauge(
          {.name = "whipsnake_finetune_job_info",
           .help = "1 for each running fine-tuning job: its slot, which the other series have, its "
                   "id and the model that it begins with.",
           .unit = "1",
           .labels = {SlotLabel(), {.name = "job", .meaning = "the job's id"}, BaseModelLabel()},
           .example = "whipsnake_finetune_loss * on (slot) group_left (job) "
                      "whipsnake_finetune_job_info"})),
      finetune_last_progress(registry.AddGauge(
          {.name = "whipsnake_finetune_last_progress_timestamp_seconds",
           .help =
               "When a running job last ended a step or an evaluation, or else when it started, "
               "in seconds since the Unix epoch.",
           .unit = "seconds",
           .labels = {SlotLabel()},
           .example = "time() - whipsnake_finetune_last_progress_timestamp_seconds > 600"})),
      finetune_progress(
          registry.AddGauge({.name = "whipsnake_finetune_progress_ratio",
                             .help = "The part of a running job's steps that is done.",
                             .unit = "0 to 1",
                             .labels = {SlotLabel()}})),
      finetune_loss(registry.AddGauge(
          {.name = "whipsnake_finetune_loss",
           .help = "Loss of a running job's last step (train) or last evaluation (eval).",
           .unit = "nats, or what the task's loss has",
           .labels = {SlotLabel(), {.name = "split", .values = {"train", "eval"}}}})),
      finetune_frozen_ratio(registry.AddGauge(
          {.name = "whipsnake_finetune_frozen_ratio",
           .help = "The part of the layers that did not train in a running job's last step.",
           .unit = "0 to 1",
           .labels = {SlotLabel()}})),
      finetune_reserved_bytes(
          registry.AddGauge({.name = "whipsnake_finetune_reserved_bytes",
                             .help = "Memory that is reserved for a running job.",
                             .unit = "bytes",
                             .labels = {SlotLabel(), DeviceLabel()}})),
      finetune_peak_memory(registry.AddGauge(
          {.name = "whipsnake_finetune_peak_memory_bytes",
           .help = "The most memory that a running job has had, of that which is reserved for it.",
           .unit = "bytes",
           .labels = {SlotLabel(), DeviceLabel()}})),
      finetune_activation_bytes(registry.AddGauge(
          {.name = "whipsnake_finetune_activation_bytes",
           .help = "Activations, gradients and temporary matrices of a running job's last step, at "
                   "their highest.",
           .unit = "bytes",
           .labels = {SlotLabel(), DeviceLabel()}})),
      finetune_moment_bytes(registry.AddGauge({.name = "whipsnake_finetune_moment_bytes",
                                               .help = "Moments of a running job's optimizer.",
                                               .unit = "bytes",
                                               .labels = {SlotLabel(), DeviceLabel()}})),
      quantizations_running(registry.AddGauge({.name = "whipsnake_quantizations_running",
                                               .help = "Quantizations that are running: 0 or 1.",
                                               .unit = "0 or 1"})),
      quantizations_waiting(registry.AddGauge({.name = "whipsnake_quantizations_waiting",
                                               .help = "Quantizations that are queued.",
                                               .unit = "quantizations"})),
      quantizations(registry.AddCounter(
          {.name = "whipsnake_quantizations_total",
           .help = "Quantizations that ended: succeeded, failed or cancelled.",
           .unit = "quantizations",
           .labels = {{.name = "result", .values = {"succeeded", "failed", "cancelled"}}}})) {}

}  // namespace whipsnake::server
