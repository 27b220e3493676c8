#include "server/jobs/fine_tuning_run.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "engine/base/status.h"
#include "engine/finetune/checkpoint_store.h"
#include "engine/finetune/run_log.h"
#include "server/disk_errors.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// The steps whose times predict the rest of a run.
constexpr int64_t kRecentSteps = 20;

int64_t SizeOf(const std::string& directory) {
  int64_t bytes = 0;
  std::error_code error;
  fs::recursive_directory_iterator entry(directory, error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    const auto size = entry->is_regular_file(ignored) ? entry->file_size(ignored) : 0;
    if (!ignored) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

// When a directory was written, in milliseconds since 1970.
int64_t TimeOf(const std::string& directory) {
  struct stat status = {};
  if (stat(directory.c_str(), &status) != 0) return 0;
  return int64_t{status.st_mtim.tv_sec} * 1000 + status.st_mtim.tv_nsec / 1'000'000;
}

double MeanSeconds(const std::vector<engine::StepRecord>& steps) {
  const int64_t count = std::min<int64_t>(std::ssize(steps), kRecentSteps);
  double seconds = 0;
  for (auto step = steps.end() - count; step != steps.end(); ++step) seconds += step->seconds;
  return seconds / static_cast<double>(count);
}

void SetIfKnown(json& object, const char* key, const std::optional<double>& value) {
  if (value) object[key] = *value;
}

// StepTaken.
json StepEvent(const engine::StepRecord& record, int64_t steps) {
  json values = engine::ToJson(record);
  values.erase("class_bytes");
  values["steps"] = steps;
  return values;
}

// Checkpoint, but for its time.
json CheckpointValue(int64_t step, const engine::RunLog& log, int64_t bytes, int64_t time_ms) {
  json value = {{"step", step}, {"size_bytes", bytes}, {"time_ms", time_ms}};
  if (step > 0 && step <= std::ssize(log.steps)) value["loss"] = log.steps[step - 1].loss;
  for (const engine::EvaluationRecord& record : log.evaluations) {
    if (record.step > step) break;
    value["eval_loss"] = record.loss;
    SetIfKnown(value, "eval_accuracy", record.accuracy);
  }
  return value;
}

}  // namespace

absl::Status FineTuningRun::CheckStop() const {
  return status_.ok() ? run_.CheckStop() : absl::CancelledError(status_.message());
}

void FineTuningRun::Show(std::string_view stage, double fraction) {
  progress_.stage = stage;
  progress_.fraction = fraction;
  run_.Report(progress_);
}

absl::Status FineTuningRun::OnStage(std::string_view stage, double fraction) {
  Show(stage, fraction);
  return CheckStop();
}

absl::Status FineTuningRun::OnStep(const engine::Trainer& trainer) {
  const std::vector<engine::StepRecord>& steps = trainer.log().steps;
  const engine::StepRecord& record = steps.back();
  if (std::exchange(trainer_, &trainer) == nullptr) {  // count the steps of earlier attempts too
    for (const engine::StepRecord& step : steps) tokens_ += step.tokens;
  } else {
    tokens_ += record.tokens;
  }
  const double seconds = MeanSeconds(steps);
  progress_.values["step"] = record.step;
  progress_.values["steps"] = trainer.steps();
  progress_.values["epoch"] = record.epoch;
  progress_.values["tokens"] = tokens_;
  progress_.values["loss"] = record.loss;
  SetIfKnown(progress_.values, "accuracy", record.accuracy);
  progress_.values["active_layers"] = std::ranges::count(record.active, true);
  progress_.values["layers"] = record.active.size();
  progress_.values["tokens_per_second"] = static_cast<double>(record.tokens) / record.seconds;
  progress_.values["remaining_seconds"] =
      seconds * static_cast<double>(trainer.steps() - record.step);
  progress_.values["heap_bytes"] = record.heap_bytes;
  progress_.values["moment_bytes"] = record.moment_bytes;
  json event = StepEvent(record, trainer.steps());
  event["peak_bytes"] = run_.ledger().peak();
  run_.AddEvent(EventLevel::kInfo, "step", std::move(event));
  Show("Training", static_cast<double>(record.step) / static_cast<double>(trainer.steps()));
  return CheckStop();
}

bool FineTuningRun::WantsCheckpoint() {
  return trainer_ != nullptr && options_.checkpoint_interval.count() > 0 &&
         Clock::now() - last_checkpoint_ >= options_.checkpoint_interval;
}

void FineTuningRun::OnEvaluation(const engine::EvaluationRecord& record) {
  progress_.values["eval_loss"] = record.loss;
  SetIfKnown(progress_.values, "eval_accuracy", record.accuracy);
  run_.AddEvent(EventLevel::kInfo, "evaluation", engine::ToJson(record));
  run_.Report(progress_);
}

void FineTuningRun::OnCheckpoint(int64_t step) {
  last_checkpoint_ = Clock::now();
  progress_.values["checkpoint_step"] = step;
  const std::string directory = engine::CheckpointStore::PathOf(options_.checkpoints, step);
  run_.AddEvent(EventLevel::kInfo, "checkpoint",
                {{"step", step}, {"size_bytes", SizeOf(directory)}});
  run_.Report(progress_);
  if (!status_.ok()) return;
  status_ = RecordCheckpoints(trainer_->log());
  if (!status_.ok()) {
    AddMessage(EventLevel::kError, kCheckpointFailed,
               absl::StrFormat("the checkpoint of step %d could not be recorded", step));
  }
}

void FineTuningRun::OnCheckpointFailed(const absl::Status& status) {
  LogDiskError("a checkpoint could not be written", status, {{"uid", options_.uid}});
  AddMessage(EventLevel::kError, kCheckpointFailed,
             absl::StrCat("a checkpoint could not be written: ",
                          engine::ToAbsl(engine::ClientMessage(status))));
}

absl::Status FineTuningRun::RecordCheckpoints(const engine::RunLog& log) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> steps,
                   engine::CheckpointStore::StepsIn(options_.checkpoints));
  std::vector<Write> writes = {DeleteChildren{Collection::kCheckpoints, options_.uid}};
  for (const int64_t step : steps) {
    const std::string directory = engine::CheckpointStore::PathOf(options_.checkpoints, step);
    const json value = CheckpointValue(step, log, SizeOf(directory), TimeOf(directory));
    writes.push_back(CreateRecord{.collection = Collection::kCheckpoints,
                                  .key = absl::StrFormat("%s/%08d", options_.uid, step),
                                  .parent = options_.uid,
                                  .value = value.dump()});
  }
  return run_.Commit(std::move(writes));
}

void FineTuningRun::OnWarning(std::string_view text) {
  AddMessage(EventLevel::kWarning, "message", text);
}

void FineTuningRun::AddMessage(EventLevel level, std::string_view type, std::string_view text) {
  // Clients learn no paths of the server.
  std::string shown =
      absl::StrReplaceAll(engine::ToAbsl(text), {{options_.checkpoints, "checkpoints"}});
  run_.AddEvent(level, type, {{"text", std::move(shown)}});
}

json ResultOf(const json& report, const std::string& directory) {
  json result = {{"steps", report.at("steps")},
                 {"stopped_early", report.at("ended") == "stopped early"},
                 {"peak_bytes", report.at("peak_bytes")},
                 {"seconds", report.at("seconds")},
                 {"size_bytes", SizeOf(directory)}};
  for (const char* key : {"eval_loss", "eval_accuracy"}) {
    if (report.contains(key)) result[key] = report.at(key);
  }
  const json& steps = report.at("log").at("steps");
  if (!steps.empty()) result["loss"] = steps.back().at("loss");
  return result;
}

}  // namespace whipsnake::server
