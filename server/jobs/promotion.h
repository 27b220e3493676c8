// Makes the result or a checkpoint of a fine-tuning job a version of a model.
#ifndef WHIPSNAKE_SERVER_JOBS_PROMOTION_H_
#define WHIPSNAKE_SERVER_JOBS_PROMOTION_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/models/model.h"
#include "server/jobs/fine_tuning_kind.h"
#include "server/jobs/job.h"
#include "server/registry/model_versions.h"

namespace whipsnake::server {

struct CheckpointPromotion {
  std::string job;           // its id
  int64_t step = 0;          // of the checkpoint; 0: the job's result
  std::string scheme = {};   // quantizes the model; "": it keeps its float weights
  Promotion promotion = {};  // but for the directory, the job and the step
};

// Finds a fine-tuning job by its id. NOT_FOUND. Thread-safe.
using JobFinder = std::function<absl::StatusOr<Job>(const std::string& id)>;

// Thread-safe. What it points to must outlive it.
class Promoter {
 public:
  // `check_stop` ends a promotion with its error before the model is loaded.
  Promoter(FineTuningKind* kind, ModelVersions* versions, JobFinder find_job,
           std::function<absl::Status()> check_stop, engine::ModelEnvironment environment)
      : kind_(*kind),
        versions_(*versions),
        find_job_(std::move(find_job)),
        check_stop_(std::move(check_stop)),
        environment_(environment) {}

  // Exports the checkpoint and quantizes the model, if that is asked for, and promotes it. Takes as
  // long as a quantization and a load. Calibrates with the texts that the job was trained with.
  //
  // Links what it needs of the job at its start, so that the job, the checkpoint and the data set
  // may be deleted meanwhile. The etag and the room for versions are checked before any work, and
  // again in the end.
  //
  // FAILED_PRECONDITION if the job has no result yet; NOT_FOUND if there is no such job, checkpoint
  // or model that the job began with; INVALID_ARGUMENT for a scheme that the model cannot have.
  // Other errors: those of ExportCheckpoint, QuantizeModel and ModelVersions::Promote.
  absl::StatusOr<ModelVersion> Promote(const CheckpointPromotion& request) const;

 private:
  class WorkDirectory;
  struct Inputs;

  absl::StatusOr<Inputs> TakeInputs(const CheckpointPromotion& request) const;
  absl::StatusOr<Inputs> TakeInputsOf(Job job, const CheckpointPromotion& request) const;
  absl::Status LinkCheckpoint(const Job& job, int64_t step, Inputs& inputs) const;
  absl::Status Export(const Inputs& inputs, const std::string& out) const;
  absl::Status Quantize(const Inputs& inputs, const std::string& scheme,
                        const std::string& directory, const std::string& out) const;

  FineTuningKind& kind_;
  ModelVersions& versions_;
  const JobFinder find_job_;
  const std::function<absl::Status()> check_stop_;
  const engine::ModelEnvironment environment_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_PROMOTION_H_
