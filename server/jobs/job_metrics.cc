#include "server/jobs/job_metrics.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "server/jobs/fine_tuning_kind.h"
#include "server/jobs/fine_tuning_run.h"
#include "server/jobs/quantization_kind.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

constexpr char kDevice[] = "cpu";

// What made a job change its state.
std::string_view ReasonFor(const Job& job) {
  if (job.reason.find("by a client") != std::string::npos) return "client";
  if (job.reason.starts_with("the server")) return "shutdown";
  return job.error ? "failure" : "progress";
}

// The part of the layers that are frozen, of the lengths of runs of frozen and active layers in
// turn. 0 without a scheduler.
double FrozenRatio(const std::string& active) {
  int64_t counts[2] = {0, 0};
  int turn = 0;
  for (const absl::string_view text : absl::StrSplit(active, ',', absl::SkipEmpty())) {
    int64_t length = 0;
    if (absl::SimpleAtoi(text, &length)) counts[turn] += length;
    turn = 1 - turn;
  }
  const int64_t layers = counts[0] + counts[1];
  return layers > 0 ? static_cast<double>(counts[0]) / static_cast<double>(layers) : 0;
}

}  // namespace

JobMetrics::JobMetrics(Metrics& metrics) : metrics_(metrics) {
  for (int i = 0; i < kJobStateCount; ++i) {
    const auto state = static_cast<JobState>(i);
    Count(std::string(kFineTuning), state, 0);
    Count(std::string(kQuantization), state, 0);
  }
}

void JobMetrics::OnState(const Job& job, std::optional<JobState> before) {
  if (before) Count(job.kind, *before, -1);
  Count(job.kind, job.state, 1);
  if (job.kind == kFineTuning) UpdateSlot(job);
  if (before) CountTransition(job, *before);
}

void JobMetrics::CountTransition(const Job& job, JobState before) {
  const std::string state(Name(job.state));
  if (job.kind == kQuantization) {
    if (HasEnded(job.state)) metrics_.quantizations.With({state}).Add();
    return;
  }
  metrics_.finetune_job_transitions.With({state, std::string(ReasonFor(job))}).Add();
  if (job.state == JobState::kRunning && before == JobState::kQueued && job.attempt == 1) {
    metrics_.finetune_queue_duration.With({}).Observe(
        std::chrono::duration<double>(*job.start_time - job.create_time).count());
  }
}

void JobMetrics::UpdateSlot(const Job& job) {
  const auto found = slots_.find(job.uid);
  if (IsRunning(job.state) == (found != slots_.end())) return;
  if (found != slots_.end()) {
    metrics_.registry.Remove("slot", std::to_string(found->second));
    slots_.erase(found);
    return;
  }
  int slot = 0;
  const auto taken = [&](const auto& other) { return other.second == slot; };
  while (std::ranges::any_of(slots_, taken)) ++slot;
  slots_[job.uid] = slot;
  const std::string name = std::to_string(slot);
  metrics_.finetune_job_info.With({name, job.id, BaseModel(job)}).Set(1);
  metrics_.finetune_reserved_bytes.With({name, kDevice}).Set(static_cast<double>(job.bytes));
  ShowProgress(name);
}

std::string JobMetrics::BaseModel(const Job& job) {
  const std::string model = job.request.at("spec").value("model", "");
  if (base_models_.size() < kMaxBaseModels) base_models_.insert(model);
  return base_models_.contains(model) ? model : "other";
}

void JobMetrics::ShowProgress(const std::string& slot) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  metrics_.finetune_last_progress.With({slot}).Set(now.count());
}

void JobMetrics::OnEvent(const Job& job, const JobEvent& event) {
  if (job.kind != kFineTuning) return;
  CountEvent(job, event);
  // The last events of a job may become durable together with its end.
  const auto found = slots_.find(job.uid);
  if (found != slots_.end()) ShowEvent(event, std::to_string(found->second));
}

void JobMetrics::CountEvent(const Job& job, const JobEvent& event) {
  const std::string model = BaseModel(job);
  const json& values = event.values;
  if (event.type == "step") {
    metrics_.finetune_steps.With({model}).Add();
    metrics_.finetune_samples.With({model}).Add(values.value("examples", int64_t{0}));
    metrics_.finetune_tokens.With({model}).Add(values.value("tokens", int64_t{0}));
    metrics_.finetune_step_duration.With({model, "train"}).Observe(values.value("seconds", 0.0));
  } else if (event.type == "evaluation") {
    metrics_.finetune_step_duration.With({model, "evaluate"}).Observe(values.value("seconds", 0.0));
  } else if (event.type == "checkpoint") {
    metrics_.finetune_checkpoints.With({"succeeded"}).Add();
  } else if (event.type == kCheckpointFailed) {
    metrics_.finetune_checkpoints.With({"failed"}).Add();
  }
}

void JobMetrics::ShowEvent(const JobEvent& event, const std::string& slot) {
  const json& values = event.values;
  if (event.type == "evaluation") {
    metrics_.finetune_loss.With({slot, "eval"}).Set(values.value("loss", 0.0));
    ShowProgress(slot);
  } else if (event.type == "step") {
    metrics_.finetune_loss.With({slot, "train"}).Set(values.value("loss", 0.0));
    metrics_.finetune_progress.With({slot}).Set(values.value("step", 0.0) /
                                                values.value("steps", 1.0));
    metrics_.finetune_frozen_ratio.With({slot}).Set(FrozenRatio(values.value("active", "")));
    metrics_.finetune_peak_memory.With({slot, kDevice}).Set(values.value("peak_bytes", 0.0));
    metrics_.finetune_activation_bytes.With({slot, kDevice}).Set(values.value("heap_bytes", 0.0));
    metrics_.finetune_moment_bytes.With({slot, kDevice}).Set(values.value("moment_bytes", 0.0));
    ShowProgress(slot);
  }
}

void JobMetrics::OnDeleted(const Job& job) { Count(job.kind, job.state, -1); }

void JobMetrics::Count(const std::string& kind, JobState state, int change) {
  const auto value = static_cast<double>(jobs_[{kind, state}] += change);
  if (kind == kFineTuning) {
    metrics_.finetune_jobs.With({std::string(Name(state))}).Set(value);
    return;
  }
  const auto count = [&](JobState of) { return static_cast<double>(jobs_[{kind, of}]); };
  metrics_.quantizations_running.With({}).Set(count(JobState::kRunning) +
                                              count(JobState::kCancelling));
  metrics_.quantizations_waiting.With({}).Set(count(JobState::kValidating) +
                                              count(JobState::kQueued));
}

}  // namespace whipsnake::server
