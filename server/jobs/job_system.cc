#include "server/jobs/job_system.h"

#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "server/errors.h"
#include "server/jobs/quantization_kind.h"
#include "server/registry/model_path.h"
#include "server/version.h"

namespace whipsnake::server {

JobSystem::JobSystem(const DataDirectory& data, JobSystemOptions options,
                     JobSystemEnvironment environment)
    : options_(std::move(options)),
      environment_(std::move(environment)),
      directory_(data.jobs()),
      metrics_(*environment_.metrics) {
  if (directory_.empty()) return;
  DatasetStoreOptions datasets = options_.datasets;
  datasets.directory = data.datasets();
  datasets.in_use = [this](const std::string& uid) { return IsInUse(uid); };
  datasets_ = std::make_unique<DatasetStore>(
      std::move(datasets), environment_.store,
      MakeDatasetModels(environment_.models, environment_.model_root), environment_.ledger,
      *environment_.metrics);
}

absl::Status JobSystem::Open() {
  std::vector<std::unique_ptr<JobKind>> kinds;
  if (datasets_ != nullptr) {
    RETURN_IF_ERROR(datasets_->Open());
    auto fine_tuning = std::make_unique<FineTuningKind>(FineTuningKindOptions{
        .executor = environment_.executor,
        .directory = directory_,
        .find_model = [this](const std::string& model) { return FindModel(model); },
        .find_dataset = [this](const std::string& id) { return FindDataset(id); },
        .version = std::string(Version()),
        .checkpoint_interval = options_.checkpoint_interval});
    fine_tuning_ = fine_tuning.get();
    promoter_.emplace(
        fine_tuning_, environment_.versions,
        [this](const std::string& id) { return jobs_->Get(kFineTuning, id); },
        [this] { return closed_ ? DrainingError() : absl::OkStatus(); },
        engine::ModelEnvironment{environment_.executor, environment_.ledger,
                                 /*background=*/true});
    kinds.push_back(std::move(fine_tuning));
  }
  kinds.push_back(std::make_unique<QuantizationKind>(
      environment_.quantizer ? environment_.quantizer
                             : MakeDirectoryQuantizer({environment_.executor, environment_.ledger}),
      environment_.model_root));
  JobQueueOptions options = options_.jobs;
  options.durable = !directory_.empty();
  ASSIGN_OR_RETURN(jobs_, JobQueue::Open(environment_.store, environment_.ledger, std::move(kinds),
                                         &metrics_, std::move(options)));
  return absl::OkStatus();
}

bool JobSystem::IsInUse(const std::string& dataset_uid) const {
  if (jobs_ == nullptr) return false;
  return jobs_->AnyUnfinished([&](const Job& job) {
    for (const char* field : {"train", "eval"}) {
      const auto reference = job.request.find(field);
      if (reference != job.request.end() && reference->value("uid", "") == dataset_uid) return true;
    }
    return false;
  });
}

std::string JobSystem::JobWithModel(const std::string& key, const std::string& directory) const {
  std::string id;
  if (jobs_ == nullptr) return id;
  jobs_->AnyUnfinished([&](const Job& job) {
    if (job.kind != kFineTuning) return false;
    // The directory is known once the job is prepared.
    const bool uses = job.details.value("model_directory", "") == directory ||
                      job.request.at("spec").value("model", "") == key;
    if (uses) id = job.id;
    return uses;
  });
  return id;
}

absl::StatusOr<JobDataset> JobSystem::FindDataset(const std::string& id) {
  if (datasets_ == nullptr) return NoDataDirectory();
  ASSIGN_OR_RETURN(DatasetFile file, datasets_->Find(id));
  return JobDataset{
      .id = std::move(file.id),
      .uid = std::move(file.uid),
      .digest = std::move(file.digest),
      .task = std::string(engine::Name(file.options.task)),
      .path = std::move(file.path),
      .columns = {.header = file.options.header, .label_column = file.options.label_column}};
}

absl::StatusOr<std::string> JobSystem::FindModel(const std::string& model) const {
  if (model.empty()) return engine::InvalidField("model", "nothing", "the name of a model");
  if (const auto served = environment_.models->Get(model); served.ok()) {
    return served->source.directory;
  } else if (environment_.model_root.empty()) {
    return engine::WithContext(served.status(), "model");
  }
  return ResolveModelPath(environment_.model_root, model, "model");
}

}  // namespace whipsnake::server
