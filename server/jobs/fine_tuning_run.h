// What a queue's job tells of a fine-tuning run: progress, events, checkpoints.
#ifndef WHIPSNAKE_SERVER_JOBS_FINE_TUNING_RUN_H_
#define WHIPSNAKE_SERVER_JOBS_FINE_TUNING_RUN_H_

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/finetune/run_log.h"
#include "engine/finetune/training_loop.h"
#include "server/jobs/job_kind.h"

namespace whipsnake::server {

// The type of an event {text} of a checkpoint that could not be written, or not be recorded.
inline constexpr std::string_view kCheckpointFailed = "checkpoint_failed";

struct FineTuningRunOptions {
  std::string uid;                                   // of the job
  std::string checkpoints;                           // the directory of its checkpoints
  std::chrono::milliseconds checkpoint_interval{0};  // 0: only those that the settings ask for
};

// Translates for the queue what a run tells. Ends the run when the queue asks for it, or when a
// checkpoint cannot be recorded: status().
class FineTuningRun final : public engine::TrainingObserver {
 public:
  explicit FineTuningRun(JobRun& run, FineTuningRunOptions options = {})
      : run_(run), options_(std::move(options)) {}

  // The error for which the run ended, if the queue could not record what it did.
  const absl::Status& status() const { return status_; }
  // Records the checkpoints that there are, in place of those before. `log` is that of the run.
  absl::Status RecordCheckpoints(const engine::RunLog& log);

  absl::Status OnStage(std::string_view stage, double fraction) override;
  absl::Status OnStep(const engine::Trainer& trainer) override;
  bool WantsCheckpoint() override;
  void OnEvaluation(const engine::EvaluationRecord& record) override;
  void OnCheckpoint(int64_t step) override;
  void OnCheckpointFailed(const absl::Status& status) override;
  void OnWarning(std::string_view text) override;

 private:
  using Clock = std::chrono::steady_clock;

  // What ends the run, if anything does.
  absl::Status CheckStop() const;
  void Show(std::string_view stage, double fraction);
  void AddMessage(EventLevel level, std::string_view type, std::string_view text);
  JobRun& run_;
  const FineTuningRunOptions options_;
  absl::Status status_;
  const engine::Trainer* trainer_ = nullptr;  // from the first step on
  int64_t tokens_ = 0;
  JobProgress progress_;  // its values are FineTuningProgress
  Clock::time_point last_checkpoint_ = Clock::now();
};

// FineTuningResult of a report (engine::RunReport as JSON) and of the directory of the result.
nlohmann::json ResultOf(const nlohmann::json& report, const std::string& directory);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_FINE_TUNING_RUN_H_
