// The server's long work: data sets and the queue of jobs that use them.
#ifndef WHIPSNAKE_SERVER_JOBS_JOB_SYSTEM_H_
#define WHIPSNAKE_SERVER_JOBS_JOB_SYSTEM_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/executor.h"
#include "engine/base/memory.h"
#include "server/datasets/dataset_store.h"
#include "server/jobs/fine_tuning_kind.h"
#include "server/jobs/job_metrics.h"
#include "server/jobs/job_queue.h"
#include "server/jobs/promotion.h"
#include "server/metrics/metrics.h"
#include "server/registry/data_directory.h"
#include "server/registry/model_registry.h"
#include "server/registry/model_versions.h"
#include "server/registry/quantizer.h"
#include "server/store/store.h"

namespace whipsnake::server {

struct JobSystemOptions {
  DatasetStoreOptions datasets;  // but for the directory
  JobQueueOptions jobs;
  std::chrono::milliseconds checkpoint_interval{60'000};
};

// What the parts use; everything must outlive the system.
struct JobSystemEnvironment {
  Store* store = nullptr;
  engine::Executor* executor = nullptr;
  engine::Ledger* ledger = nullptr;
  const ModelRegistry* models = nullptr;
  ModelVersions* versions = nullptr;
  Metrics* metrics = nullptr;
  std::string model_root;
  Quantizer quantizer;  // null: quantizes model directories; tests set fakes here
};

// Thread-safe after Open.
class JobSystem {
 public:
  JobSystem(const DataDirectory& data, JobSystemOptions options, JobSystemEnvironment environment);

  // Reads what is stored. Nothing runs before Start.
  absl::Status Open();
  void Start() { jobs_->Start(); }
  // Refuses new work and asks what runs to stop. Does not wait.
  void Close() {
    closed_ = true;
    if (jobs_ != nullptr) jobs_->Close();
  }
  void Stop() {
    if (jobs_ != nullptr) jobs_->Stop();
  }

  JobQueue& jobs() { return *jobs_; }
  // All null without a data directory.
  DatasetStore* datasets() { return datasets_.get(); }
  FineTuningKind* fine_tuning() { return fine_tuning_; }
  const Promoter* promoter() { return promoter_ ? &*promoter_ : nullptr; }

  // Finds what a job begins with. FAILED_PRECONDITION without a data directory.
  absl::StatusOr<JobDataset> FindDataset(const std::string& id);
  absl::StatusOr<std::string> FindModel(const std::string& model) const;
  // The id of a fine-tuning job that has not ended and trains the model of this key ("support:3")
  // and directory, or "".
  std::string JobWithModel(const std::string& key, const std::string& directory) const;

 private:
  bool IsInUse(const std::string& dataset_uid) const;

  const JobSystemOptions options_;
  const JobSystemEnvironment environment_;
  const std::string directory_;  // of jobs; "" without a data directory
  std::unique_ptr<DatasetStore> datasets_;
  FineTuningKind* fine_tuning_ = nullptr;  // owned by the queue
  std::optional<Promoter> promoter_;
  JobMetrics metrics_;
  std::atomic<bool> closed_ = false;
  std::unique_ptr<JobQueue> jobs_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_JOB_SYSTEM_H_
