// Fine-tuning as a kind of job: runs engine::FineTuning in the queue.
#ifndef WHIPSNAKE_SERVER_JOBS_FINE_TUNING_KIND_H_
#define WHIPSNAKE_SERVER_JOBS_FINE_TUNING_KIND_H_

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/executor.h"
#include "engine/finetune/fine_tuning.h"
#include "engine/finetune/fine_tuning_spec.h"
#include "server/jobs/fine_tuning_run.h"
#include "server/jobs/job_inputs.h"
#include "server/jobs/job_kind.h"

namespace whipsnake::server {

inline constexpr std::string_view kFineTuning = "fine-tuning";

struct FineTuningKindOptions {
  engine::Executor* executor = nullptr;
  // The directory of jobs' files: of each, "<uid>/checkpoints" and "<uid>/result". While a
  // promotion runs, it has a "promotion-<number>" too.
  std::string directory;
  ModelFinder find_model = {};
  DatasetFinder find_dataset = {};
  std::string version = {};  // of the program
  // Without a checkpoint for so long, a run writes one after the step: what a crash costs at most.
  std::chrono::milliseconds checkpoint_interval{60'000};
};

// A job's request is an object: `given` and `spec` with the keys of FineTuningJobSpec, as
// the client has sent it and with what follows from the data, and `train` and perhaps
// `eval` with `id`, `uid` and `digest` of a data set. Its details are `model_directory`, `plan`
// (FineTuningPlan), `settings` (FineTuningJobSpec, all of them) and `candidates`
// (FineTuningCandidate); its progress and result are FineTuningProgress and FineTuningResult; its
// events are of the types of FineTuningEvent. See proto/whipsnake/v1/fine_tuning.proto.
class FineTuningKind final : public JobKind {
 public:
  explicit FineTuningKind(FineTuningKindOptions options) : options_(std::move(options)) {}

  std::string_view name() const override { return kFineTuning; }
  std::string_view id_prefix() const override { return "ft"; }
  bool IsValid(const nlohmann::json& request) const override;
  absl::Status Prepare(const Job& job, JobRun& run, Preparation& preparation) override;
  absl::StatusOr<nlohmann::json> Run(const Job& job, JobRun& run) override;
  void RemoveFiles(const std::string& uid) override;
  void Sweep(const std::set<std::string>& uids) override;

  // The engine's form of a request, without files that are the job's own. The errors of
  // ParseFineTuningSpec, with the fields of FineTuningJobSpec.
  static absl::StatusOr<engine::FineTuningSpec> ParseSpec(const nlohmann::json& spec);
  // The directories of a job's files, of a checkpoint, and of the result.
  std::string DirectoryOf(const std::string& uid) const;
  std::string CheckpointDirectory(const std::string& uid, int64_t step) const;
  std::string ResultDirectory(const std::string& uid) const;
  // Whether there is a checkpoint on the disk. A record may name one that a later checkpoint has
  // replaced, if the server crashed before that one was recorded.
  bool HasCheckpoint(const std::string& uid, int64_t step) const;
  // A new name for the directory of a promotion, beside those of jobs. Sweep() removes it.
  std::string NewPromotionDirectory() const;

  // The data set of a job, which must still be the one that the job was made with.
  absl::StatusOr<JobDataset> FindDataset(const nlohmann::json& reference) const;

 private:
  // Names the files of a job in its specification.
  absl::StatusOr<engine::FineTuningSpec> MakeSpec(const Job& job,
                                                  const std::string& model_directory) const;
  // Trains and writes the result. Returns the report as JSON, or CANCELLED.
  absl::StatusOr<nlohmann::json> Train(const Job& job, JobRun& run, FineTuningRun& observer) const;

  const FineTuningKindOptions options_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_FINE_TUNING_KIND_H_
