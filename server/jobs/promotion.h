// Makes the result or a checkpoint of a fine-tuning job a version of a model.
#ifndef WHIPSNAKE_SERVER_JOBS_PROMOTION_H_
#define WHIPSNAKE_SERVER_JOBS_PROMOTION_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/models/model.h"
#include "server/jobs/fine_tuning_kind.h"
#include "server/jobs/job.h"
#include "server/registry/model_versions.h"

namespace whipsnake::server {

struct CheckpointPromotion {
  int64_t step = 0;          // of the checkpoint; 0: the job's result
  std::string scheme = {};   // quantizes the model; "": it keeps its float weights
  Promotion promotion = {};  // but for the directory, the job and the step
};

// Thread-safe. What it points to must outlive it.
class Promoter {
 public:
  // `check_stop` ends a promotion with its error before the model is loaded.
  Promoter(FineTuningKind* kind, ModelVersions* versions, std::function<absl::Status()> check_stop,
           engine::ModelEnvironment environment)
      : kind_(*kind),
        versions_(*versions),
        check_stop_(std::move(check_stop)),
        environment_(environment) {}

  // Exports the checkpoint and quantizes the model, if that is asked for, and promotes it. Takes as
  // long as a quantization and a load. Calibrates with the texts that the job was trained with.
  // FAILED_PRECONDITION if the job has no result yet; NOT_FOUND if there is no such checkpoint;
  // INVALID_ARGUMENT for a scheme that the model cannot have. Other errors: those of
  // ExportCheckpoint, QuantizeModel and ModelVersions::Promote.
  absl::StatusOr<ModelVersion> Promote(const Job& job, const CheckpointPromotion& request) const;

 private:
  absl::Status Export(const Job& job, int64_t step, const std::string& out) const;
  absl::Status Quantize(const Job& job, const std::string& scheme, const std::string& directory,
                        const std::string& out) const;

  FineTuningKind& kind_;
  ModelVersions& versions_;
  const std::function<absl::Status()> check_stop_;
  const engine::ModelEnvironment environment_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_PROMOTION_H_
