// Runs a trainer to its end: evaluations, early stopping, checkpoints, cancellation.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_TRAINING_LOOP_H_
#define WHIPSNAKE_ENGINE_FINETUNE_TRAINING_LOOP_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/finetune/checkpoint_store.h"
#include "engine/finetune/plan/training_plan.h"
#include "engine/finetune/report/run_report.h"
#include "engine/finetune/run_identity.h"
#include "engine/finetune/trainer.h"

namespace whipsnake::engine {

// What a caller sees of a run. Called on the thread that runs it.
class TrainingObserver {
 public:
  virtual ~TrainingObserver() = default;

  // The stage of the preparation, or an evaluation, and the fraction of it that is done. An error
  // ends the job; CANCELLED in an evaluation ends the run as OnStep() does.
  virtual absl::Status OnStage(std::string_view /*stage*/, double /*fraction*/) {
    return absl::OkStatus();
  }
  // Before the run takes memory, unless it is refused. `full` is the plan of the same run with all
  // layers active and all activations as they are.
  virtual void OnPlan(const TrainingPlan& /*plan*/, const TrainingPlan& /*full*/) {}
  // After a step. CANCELLED ends the run, after it has written a checkpoint; other errors end it at
  // once.
  virtual absl::Status OnStep(const Trainer& /*trainer*/) { return absl::OkStatus(); }
  // Whether to write a checkpoint now, after the step, though none is due.
  virtual bool WantsCheckpoint() { return false; }
  virtual void OnEvaluation(const EvaluationRecord& /*record*/) {}
  virtual void OnCheckpoint(int64_t /*step*/) {}
  // A checkpoint could not be written, which ends the run with this error.
  virtual void OnCheckpointFailed(const absl::Status& /*status*/) {}
  virtual void OnWarning(std::string_view /*text*/) {}
};

// What a run needs. Everything must outlive it.
struct TrainingLoopInputs {
  Trainer* trainer = nullptr;
  BatchSource* evaluation = nullptr;  // or null
  CheckpointStore* store = nullptr;
  const RunIdentity* identity = nullptr;
  std::span<const double> reference;  // see TrainingCheckpoint::Write
  int64_t keep_checkpoints = 2;
  // A file for the parameters of the best evaluation, if the run may stop early.
  std::string best_file;
  TrainingObserver* observer = nullptr;
};

// Evaluates and checkpoints when the trainer's options say so, also before the first step and after
// the last one. With a patience, the model has the parameters of its best evaluation in the end.
// Everything is a function of the trainer's log, so a resumed run goes on as it would have. Errors
// of Trainer::Step, Trainer::Evaluate and CheckpointStore::Save.
absl::StatusOr<RunEnd> RunTrainingLoop(const TrainingLoopInputs& inputs);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_TRAINING_LOOP_H_
