#include "server/cli/job_output.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "engine/finetune/plan/memory_budget.h"
#include "server/cli/step_history.h"
#include "server/jobs/fine_tuning_kind.h"
#include "server/json_message.h"

namespace whipsnake::server {
namespace {

using google::protobuf::RepeatedPtrField;
using google::protobuf::util::TimeUtil;
using Rows = std::vector<std::vector<std::string>>;

Json MessageJson(const google::protobuf::Message& message) { return MessageToJson(message); }

// A part of a message, if it is set.
template <typename Message>
void SetPart(Json& json, const char* key, bool is_set, const Message& part) {
  if (is_set) json[key] = MessageJson(part);
}

Json CandidatesJson(const RepeatedPtrField<v1::FineTuningCandidate>& candidates) {
  Json list = Json::array();
  for (const v1::FineTuningCandidate& candidate : candidates) {
    Json json = MessageJson(candidate);
    json["fits"] = candidate.fits();
    list.push_back(std::move(json));
  }
  return list;
}

void SetTimes(const v1::FineTuningJob& job, Json& json) {
  json["create_time"] = TimeUtil::ToString(job.create_time());
  if (job.has_start_time()) json["start_time"] = TimeUtil::ToString(job.start_time());
  if (job.has_end_time()) json["end_time"] = TimeUtil::ToString(job.end_time());
  if (job.has_next_attempt_time()) {
    json["next_attempt_time"] = TimeUtil::ToString(job.next_attempt_time());
  }
}

// "126/300", or how much of its stage is done.
std::string ProgressText(const v1::FineTuningJob& job) {
  const v1::FineTuningProgress& progress = job.progress();
  if (progress.steps() > 0) return absl::StrCat(progress.step(), "/", progress.steps());
  if (job.state() != v1::FINE_TUNING_JOB_STATE_VALIDATING) return "-";
  return absl::StrCat(static_cast<int>(100 * progress.fraction()), "%");
}

std::string LossText(const v1::FineTuningJob& job) {
  return job.progress().step() > 0 ? absl::StrFormat("%.4f", job.progress().loss()) : "-";
}

// "2: 1.2 GiB of memory: ...", with the place in the queue first.
std::string WaitText(const v1::FineTuningJob& job) {
  if (job.state() != v1::FINE_TUNING_JOB_STATE_QUEUED) return "-";
  if (job.waits_for().empty()) return absl::StrCat(job.queue_position(), ": its turn");
  return absl::StrCat(job.queue_position(), ": ", job.waits_for());
}

std::string AgeText(const v1::FineTuningJob& job, int64_t now) {
  return engine::HumanDuration(
      static_cast<double>(std::max<int64_t>(now - job.create_time().seconds(), 1)));
}

// "  accuracy 0.6120", or "".
template <typename Scores>
std::string AccuracyText(const Scores& scores) {
  return scores.has_accuracy() ? absl::StrFormat("  accuracy %.4f", scores.accuracy()) : "";
}

std::string StepText(const v1::StepTaken& step) {
  std::string text =
      absl::StrFormat("step %d/%d  loss %.4f", step.step(), step.steps(), step.loss());
  if (!step.active().empty()) {
    const LayerMap layers = LayerMap::Parse(step.active());
    absl::StrAppendFormat(&text, "  %d/%d layers", layers.active_count(), layers.active.size());
  }
  absl::StrAppend(&text, "  ", engine::HumanBytes(step.heap_bytes()), AccuracyText(step));
  if (step.seconds() > 0) {
    const double speed = static_cast<double>(step.tokens()) / step.seconds();
    absl::StrAppend(&text, "  ", engine::HumanNumber(speed, 3), " tokens/s");
  }
  return text;
}

std::string EvaluationText(const v1::Evaluated& evaluation) {
  std::string text = absl::StrFormat("step %d: evaluation loss %.4f%s", evaluation.step(),
                                     evaluation.loss(), AccuracyText(evaluation));
  if (evaluation.has_margin()) absl::StrAppendFormat(&text, "  margin %.4f", evaluation.margin());
  return absl::StrCat(text, "  (", engine::HumanDuration(evaluation.seconds()), ")");
}

// "RUNNING: resumed by a client"
std::string WithReasonText(std::string_view text, std::string_view reason) {
  return reason.empty() ? std::string(text)
                        : absl::StrCat(engine::ToAbsl(text), ": ", engine::ToAbsl(reason));
}

void AppendLine(std::string_view name, std::string_view value, std::string* text) {
  if (!value.empty()) {
    absl::StrAppend(text, engine::ToAbsl(name), ": ", engine::ToAbsl(value), "\n");
  }
}

std::string InputsText(const v1::FineTuningJob& job) {
  std::string text = absl::StrCat("trains ", job.spec().model(), " with ", job.train().id());
  if (job.has_eval()) absl::StrAppend(&text, ", evaluates with ", job.eval().id());
  return text + "\n";
}

std::string LabelsText(const v1::FineTuningJob& job) {
  std::vector<std::string> labels;
  for (const auto& [key, value] : job.labels()) labels.push_back(absl::StrCat(key, "=", value));
  std::ranges::sort(labels);
  std::string text;
  for (const std::string& label : labels) absl::StrAppend(&text, text.empty() ? "" : ", ", label);
  return text;
}

// "Training, epoch 1.2, 12,345 tokens, 1,200 tokens/s, 3 min 2 s left"
std::string StageText(const v1::FineTuningJob& job) {
  const v1::FineTuningProgress& progress = job.progress();
  if (HasEnded(job) || progress.stage().empty()) return "";
  std::string text = progress.stage();
  if (progress.step() == 0) return text;
  absl::StrAppend(&text, ", epoch ", engine::HumanNumber(progress.epoch(), 3), ", ",
                  engine::HumanCount(progress.tokens()), " tokens, ",
                  engine::HumanNumber(progress.tokens_per_second(), 3), " tokens/s");
  if (progress.has_remaining_seconds() && job.state() == v1::FINE_TUNING_JOB_STATE_RUNNING) {
    absl::StrAppend(&text, ", ", engine::HumanDuration(progress.remaining_seconds()), " left");
  }
  return text;
}

std::string EvaluatedText(const v1::FineTuningProgress& progress) {
  if (!progress.has_eval_loss()) return "";
  std::string text = absl::StrFormat("loss %.4f", progress.eval_loss());
  if (progress.has_eval_accuracy()) {
    absl::StrAppendFormat(&text, ", accuracy %.4f", progress.eval_accuracy());
  }
  return text;
}

std::string ResultText(const v1::FineTuningResult& result) {
  return absl::StrCat(engine::HumanCount(result.steps()), " steps",
                      result.stopped_early() ? " (stopped early)" : "", " in ",
                      engine::HumanDuration(result.seconds()), ", at most ",
                      engine::HumanBytes(result.peak_bytes()), " of memory; ",
                      engine::HumanBytes(result.size_bytes()), " on the server's disk");
}

std::string ErrorText(const v1::JobError& error) {
  return absl::StrCat(error.message(), error.reason().empty() ? "" : " (", error.reason(),
                      error.reason().empty() ? "" : ")");
}

// "slimfit 0.9, checkpointing, moments 8bit"; "" if the settings are not known here.
std::string SettingsText(const v1::FineTuningJobSpec& spec) {
  const auto parsed = FineTuningKind::ParseSpec(MessageToJson(spec));
  return parsed.ok() ? engine::MemorySettingsText(parsed->training) : "";
}

}  // namespace

std::string JobStateName(v1::FineTuningJobState state) {
  constexpr std::string_view kPrefix = "FINE_TUNING_JOB_STATE_";
  const std::string name = v1::FineTuningJobState_Name(state);
  return name.size() > kPrefix.size() ? name.substr(kPrefix.size()) : "UNKNOWN";
}

std::string JobStateText(v1::FineTuningJobState state) {
  return absl::AsciiStrToLower(JobStateName(state));
}

bool HasEnded(const v1::FineTuningJob& job) {
  return job.state() == v1::FINE_TUNING_JOB_STATE_SUCCEEDED ||
         job.state() == v1::FINE_TUNING_JOB_STATE_FAILED ||
         job.state() == v1::FINE_TUNING_JOB_STATE_CANCELLED;
}

Json JobJson(const v1::FineTuningJob& job) {
  Json json = {{"id", job.id()},
               {"uid", job.uid()},
               {"etag", job.etag()},
               {"state", JobStateName(job.state())},
               {"state_reason", job.state_reason()},
               {"labels", Json::object()},
               {"priority", job.priority()},
               {"attempt", job.attempt()},
               {"spec", MessageJson(job.spec())}};
  for (const auto& [key, value] : job.labels()) json["labels"][key] = value;
  SetPart(json, "resolved_spec", job.has_resolved_spec(), job.resolved_spec());
  SetPart(json, "train", job.has_train(), job.train());
  SetPart(json, "eval", job.has_eval(), job.eval());
  SetPart(json, "error", job.has_error(), job.error());
  if (job.queue_position() > 0) {
    json["queue_position"] = job.queue_position();
    json["waits_for"] = job.waits_for();
  }
  SetPart(json, "progress", job.has_progress(), job.progress());
  SetPart(json, "plan", job.has_plan(), job.plan());
  if (job.candidates_size() > 0) json["candidates"] = CandidatesJson(job.candidates());
  SetPart(json, "result", job.has_result(), job.result());
  SetTimes(job, json);
  return json;
}

Json PlanJson(const v1::PlanFineTuningJobResponse& response) {
  return {{"plan", MessageJson(response.plan())},
          {"resolved_spec", MessageJson(response.resolved_spec())},
          {"candidates", CandidatesJson(response.candidates())},
          {"available_bytes", response.available_bytes()},
          {"fits", response.fits()}};
}

Json CheckpointJson(const v1::Checkpoint& checkpoint) {
  Json json = MessageJson(checkpoint);
  json["create_time"] = TimeUtil::ToString(checkpoint.create_time());
  return json;
}

Json EventJson(const v1::FineTuningEvent& event) {
  Json json = {{"event", ""},
               {"id", event.id()},
               {"time", TimeUtil::ToString(event.time())},
               {"attempt", event.attempt()}};
  switch (event.event_case()) {
    case v1::FineTuningEvent::kStateChanged:
      json["event"] = "state";
      json["state"] = JobStateName(event.state_changed().state());
      json["reason"] = event.state_changed().reason();
      break;
    case v1::FineTuningEvent::kStep:
      json["event"] = "step";
      json.update(MessageJson(event.step()));
      break;
    case v1::FineTuningEvent::kEvaluation:
      json["event"] = "evaluation";
      json["step"] = event.evaluation().step();
      json.update(MessageJson(event.evaluation()));
      break;
    case v1::FineTuningEvent::kCheckpoint:
      json["event"] = "checkpoint";
      json["step"] = event.checkpoint().step();
      json.update(MessageJson(event.checkpoint()));
      break;
    default:
      json["event"] = "message";
      json["text"] = event.message();
      break;
  }
  return json;
}

std::string EventText(const v1::FineTuningEvent& event) {
  switch (event.event_case()) {
    case v1::FineTuningEvent::kStateChanged:
      return WithReasonText(JobStateText(event.state_changed().state()),
                            event.state_changed().reason());
    case v1::FineTuningEvent::kStep:
      return StepText(event.step());
    case v1::FineTuningEvent::kEvaluation:
      return EvaluationText(event.evaluation());
    case v1::FineTuningEvent::kCheckpoint:
      return absl::StrCat("step ", event.checkpoint().step(), ": checkpoint, ",
                          engine::HumanBytes(event.checkpoint().size_bytes()));
    default:
      return absl::StrCat("note: ", event.message());
  }
}

std::string JobsTable(const std::vector<v1::FineTuningJob>& jobs, int64_t now) {
  Rows rows = {{"ID", "STATE", "STEP", "LOSS", "PRIORITY", "AGE", "WAITS FOR"}};
  std::string errors;
  for (const v1::FineTuningJob& job : jobs) {
    rows.push_back({job.id(), JobStateText(job.state()), ProgressText(job), LossText(job),
                    absl::StrCat(job.priority()), AgeText(job, now), WaitText(job)});
    if (job.has_error()) absl::StrAppend(&errors, job.id(), ": ", ErrorText(job.error()), "\n");
  }
  return Table(rows) + errors;
}

std::string JobText(const v1::FineTuningJob& job, int64_t now) {
  std::string text = JobsTable({job}, now) + InputsText(job);
  AppendLine("labels", LabelsText(job), &text);
  if (!job.has_error()) AppendLine("why", job.state_reason(), &text);
  AppendLine("now", StageText(job), &text);
  AppendLine("last evaluation", EvaluatedText(job.progress()), &text);
  if (job.progress().checkpoint_step() > 0 && !HasEnded(job)) {
    AppendLine("last checkpoint", absl::StrCat("step ", job.progress().checkpoint_step()), &text);
  }
  if (job.has_result()) AppendLine("result", ResultText(job.result()), &text);
  return text;
}

std::string JobPlanText(const v1::FineTuningJob& job) {
  std::string text;
  if (job.has_plan()) text += "\n" + PlanText(job.plan(), job.resolved_spec());
  if (job.candidates_size() > 0) text += "\n" + CandidatesTable(job.candidates());
  return text;
}

std::string CheckpointsTable(const RepeatedPtrField<v1::Checkpoint>& checkpoints) {
  Rows rows = {{"STEP", "LOSS", "EVALUATION", "SIZE", "WRITTEN"}};
  for (const v1::Checkpoint& checkpoint : checkpoints) {
    rows.push_back(
        {absl::StrCat(checkpoint.step()), absl::StrFormat("%.4f", checkpoint.loss()),
         checkpoint.has_eval_loss() ? absl::StrFormat("%.4f", checkpoint.eval_loss()) : "-",
         engine::HumanBytes(checkpoint.size_bytes()),
         engine::HumanTime(checkpoint.create_time().seconds())});
  }
  return Table(rows);
}

std::string PlanText(const v1::FineTuningPlan& plan, const v1::FineTuningJobSpec& spec) {
  std::string text;
  AppendLine("Settings", SettingsText(spec), &text);
  text += Table({{"Memory", "MiB"},
                 {"weights", Mebibytes(plan.parameter_bytes())},
                 {"moments", Mebibytes(plan.moment_bytes())},
                 {"gradients and activations", Mebibytes(plan.heap_bytes())},
                 {"admitted with", Mebibytes(plan.bytes())}});
  absl::StrAppend(&text, "A step takes about ", engine::HumanDuration(plan.step_seconds()),
                  ", and ", engine::HumanCount(plan.steps()), " steps about ",
                  engine::HumanDuration(plan.total_seconds()), ", on an idle machine.\n");
  if (plan.layers() > 0) {
    absl::StrAppend(&text, engine::HumanNumber(plan.active_layers(), 3), " of ",
                    engine::HumanCount(plan.layers()), " layers train in a step, in the mean.\n");
  }
  return text;
}

std::string CandidatesTable(const RepeatedPtrField<v1::FineTuningCandidate>& candidates) {
  Rows rows = {{"Settings", "MiB", "step", "fits"}};
  for (const v1::FineTuningCandidate& candidate : candidates) {
    rows.push_back({candidate.settings(), Mebibytes(candidate.bytes()),
                    engine::HumanDuration(candidate.step_seconds()),
                    candidate.fits() ? "yes" : "no"});
  }
  return Table(rows);
}

}  // namespace whipsnake::server
