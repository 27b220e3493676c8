#include "server/jobs/fine_tuning_kind.h"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "engine/base/atomic_file.h"
#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/random.h"
#include "engine/base/status.h"
#include "engine/finetune/checkpoint_store.h"
#include "engine/finetune/plan/measure_rates.h"
#include "engine/finetune/plan/memory_budget.h"
#include "server/disk_errors.h"
#include "server/errors.h"
#include "server/jobs/fine_tuning_run.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kReport[] = "training.json";  // of a result
constexpr char kPromotion[] = "promotion-";

void RemoveAll(const std::string& path) {
  const absl::Status removed = engine::RemoveDirectory(path);
  if (removed.ok()) return;
  LogDiskError("the files of a job could not be removed", removed);
}

std::vector<std::string> NamesIn(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(directory, error);
  for (const fs::directory_iterator end; !error && entry != end; entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  return names;
}

// The settings of a ladder of memory, as fields of FineTuningJobSpec.
json MemorySettings(const engine::TrainingOptions& options) {
  const json all = engine::ToJson(options);
  json settings;
  for (const char* key : {"scheduler", "freezing_rate", "compression", "checkpointing", "moments",
                          "update_in_backward"}) {
    if (all.contains(key)) settings[key] = all.at(key);
  }
  return settings;
}

json PlanToJson(const engine::TrainingPlan& plan, const engine::ComputeRates& rates) {
  const double seconds = engine::EstimateSeconds(plan.cost, rates);
  return {{"bytes", plan.sufficient_bytes()},
          {"parameter_bytes", plan.memory.parameters},
          {"moment_bytes", plan.memory.moments},
          {"heap_bytes", plan.memory.activations},
          {"steps", plan.steps},
          {"step_seconds", seconds},
          {"total_seconds", seconds * static_cast<double>(plan.steps)},
          {"active_layers", plan.active_layers},
          {"layers", plan.layers}};
}

json CandidatesToJson(const engine::SettingsChoice& choice, const engine::ComputeRates& rates,
                      int64_t limit) {
  json list = json::array();
  for (const engine::Candidate& candidate : choice.candidates) {
    list.push_back({{"settings", engine::MemorySettingsText(candidate.options)},
                    {"spec", MemorySettings(candidate.options)},
                    {"bytes", candidate.plan.sufficient_bytes()},
                    {"step_seconds", engine::EstimateSeconds(candidate.plan.cost, rates)},
                    {"fits", candidate.plan.sufficient_bytes() <= limit}});
  }
  return list;
}

// Refuses a job that does not fit, with the first settings that do.
absl::Status CheckFits(const engine::SettingsChoice& choice, int64_t limit) {
  const int64_t needed = choice.chosen.plan.sufficient_bytes();
  if (needed <= limit) return absl::OkStatus();
  std::string text = absl::StrCat("the job needs ", needed, " bytes of memory, expected at most ",
                                  limit, ", what there is beside the models");
  const auto fit = engine::FitToBudget(choice.candidates, limit);
  absl::StrAppend(
      &text, fit.ok() ? absl::StrCat("; it fits with ", engine::MemorySettingsText((*fit)->options),
                                     ", which memory_budget: ", limit, " chooses")
                      : absl::StrCat("; ", fit.status().message()));
  // No later attempt would have more.
  return WithReason(absl::FailedPreconditionError(text), "PLAN_EXCEEDS_MEMORY");
}

}  // namespace

std::string FineTuningKind::DirectoryOf(const std::string& uid) const {
  return options_.directory + "/" + uid;
}

std::string FineTuningKind::ResultDirectory(const std::string& uid) const {
  return DirectoryOf(uid) + "/result";
}

std::string FineTuningKind::NewPromotionDirectory() const {
  return absl::StrFormat("%s/%s%016x", options_.directory, kPromotion, engine::RandomNumber());
}

std::string FineTuningKind::CheckpointDirectory(const std::string& uid, int64_t step) const {
  return engine::CheckpointStore::PathOf(DirectoryOf(uid) + "/checkpoints", step);
}

bool FineTuningKind::HasCheckpoint(const std::string& uid, int64_t step) const {
  std::error_code error;
  return fs::is_directory(CheckpointDirectory(uid, step), error);
}

absl::StatusOr<engine::FineTuningSpec> FineTuningKind::ParseSpec(const json& spec) {
  for (const char* key : {"out", "checkpoints", "resume", "header", "label_column"}) {
    if (spec.contains(key)) {
      return engine::InvalidField(key, engine::Described(spec.at(key)),
                                  "nothing: the server decides it, or the data set has it");
    }
  }
  return engine::ParseFineTuningSpec(spec);
}

absl::StatusOr<JobDataset> FineTuningKind::FindDataset(const json& reference) const {
  ASSIGN_OR_RETURN(JobDataset dataset, options_.find_dataset(reference.at("id")));
  if (dataset.uid == reference.at("uid")) return dataset;
  return absl::NotFoundError(
      absl::StrCat("data set ", dataset.id, ": it was deleted after the job was made"));
}

absl::StatusOr<engine::FineTuningSpec> FineTuningKind::MakeSpec(
    const Job& job, const std::string& model_directory) const {
  ASSIGN_OR_RETURN(engine::FineTuningSpec spec, ParseSpec(job.request.at("spec")));
  ASSIGN_OR_RETURN(const JobDataset train, FindDataset(job.request.at("train")));
  spec.model = model_directory;
  spec.training_file = train.path;
  spec.training_columns = train.columns;
  if (job.request.contains("eval")) {
    ASSIGN_OR_RETURN(const JobDataset evaluation, FindDataset(job.request.at("eval")));
    spec.evaluation_file = evaluation.path;
    spec.evaluation_columns = evaluation.columns;
  }
  spec.out = ResultDirectory(job.uid);
  spec.checkpoints = DirectoryOf(job.uid) + "/checkpoints";
  const auto steps = engine::CheckpointStore::StepsIn(spec.checkpoints);
  spec.resume = steps.ok() && !steps->empty();
  spec.version = options_.version;
  return spec;
}

bool FineTuningKind::IsValid(const json& request) const {
  return request.is_object() && request.contains("spec") && request.at("spec").is_object() &&
         request.at("spec").contains("model") && request.contains("train") &&
         request.at("train").is_object();
}

absl::Status FineTuningKind::Prepare(const Job& job, JobRun& run, Preparation& preparation) {
  ASSIGN_OR_RETURN(const std::string model,
                   options_.find_model(job.request.at("spec").at("model")));
  preparation.details["model_directory"] = model;
  ASSIGN_OR_RETURN(const engine::FineTuningSpec spec, MakeSpec(job, model));
  FineTuningRun observer(run);
  ASSIGN_OR_RETURN(const auto tuning,
                   engine::FineTuning::Prepare(
                       spec, {.executor = options_.executor, .ledger = &run.ledger()}, &observer));
  RETURN_IF_ERROR(tuning->CheckData());
  RETURN_IF_ERROR(observer.OnStage("Planning", 0));
  ASSIGN_OR_RETURN(const engine::SettingsChoice choice, tuning->PlanSettings());
  ASSIGN_OR_RETURN(const engine::PlannedRun planned, tuning->DescribeRun());
  const engine::ComputeRates rates =
      engine::MeasureRates(*options_.executor, engine::RateShape::Of(planned));
  const engine::TrainingPlan& plan = choice.chosen.plan;
  json settings = engine::ToJson(choice.chosen.options);
  settings["max_length"] = tuning->training_data().max_length;
  settings["packed"] = tuning->training_data().packed;
  preparation.details["plan"] = PlanToJson(plan, rates);
  preparation.details["settings"] = std::move(settings);
  preparation.details["candidates"] = CandidatesToJson(choice, rates, tuning->limit());
  // What reads and frees memory before the run may need more than a small run itself.
  preparation.bytes = std::max(plan.sufficient_bytes(), run.ledger().peak());
  return CheckFits(choice, tuning->limit());
}

absl::StatusOr<json> FineTuningKind::Run(const Job& job, JobRun& run) {
  std::error_code error;
  fs::create_directories(DirectoryOf(job.uid) + "/checkpoints", error);
  if (error) {
    return StorageError(
        absl::InternalError(absl::StrCat(DirectoryOf(job.uid), ": ", error.message())),
        "the server could not make the job's directory");
  }
  FineTuningRun observer(run, {.uid = job.uid,
                               .checkpoints = DirectoryOf(job.uid) + "/checkpoints",
                               .checkpoint_interval = options_.checkpoint_interval});
  json report;
  // The attempt before may have been cut off after it had written the result.
  const std::string file = ResultDirectory(job.uid) + "/" + kReport;
  if (fs::exists(file)) {
    ASSIGN_OR_RETURN(const std::string text, engine::ReadTextFile(file));
    ASSIGN_OR_RETURN(report, engine::ParseJsonObject(text));
  } else {
    ASSIGN_OR_RETURN(report, Train(job, run, observer));
  }
  // It may also have been cut off between a checkpoint and its record.
  ASSIGN_OR_RETURN(const engine::RunLog log, engine::ParseRunLog(report.at("log")));
  RETURN_IF_ERROR(observer.RecordCheckpoints(log));
  return ResultOf(report, ResultDirectory(job.uid));
}

absl::StatusOr<json> FineTuningKind::Train(const Job& job, JobRun& run,
                                           FineTuningRun& observer) const {
  ASSIGN_OR_RETURN(const engine::FineTuningSpec spec,
                   MakeSpec(job, job.details.at("model_directory").get<std::string>()));
  ASSIGN_OR_RETURN(const auto tuning,
                   engine::FineTuning::Prepare(
                       spec, {.executor = options_.executor, .ledger = &run.ledger()}, &observer));
  ASSIGN_OR_RETURN(const engine::RunReport report, tuning->Run());
  RETURN_IF_ERROR(observer.status());
  if (report.ended == engine::RunEnd::kCancelled)
    return absl::CancelledError("the job was stopped");
  return engine::ToJson(report);
}

void FineTuningKind::RemoveFiles(const std::string& uid) { RemoveAll(DirectoryOf(uid)); }

void FineTuningKind::Sweep(const std::set<std::string>& uids) {
  std::vector<std::string> lost;
  for (const std::string& name : NamesIn(options_.directory)) {
    if (!uids.contains(name)) lost.push_back(options_.directory + "/" + name);
  }
  // An older version kept the files of promotions with those of their jobs.
  for (const std::string& uid : uids) {
    for (const std::string& name : NamesIn(DirectoryOf(uid))) {
      if (name.starts_with(kPromotion)) lost.push_back(DirectoryOf(uid) + "/" + name);
    }
  }
  for (const std::string& path : lost) {
    Log(LogLevel::kInfo, "removed files of a deleted job or of a promotion that was cut off",
        {{"path", path}});
    RemoveAll(path);
  }
}

}  // namespace whipsnake::server
