#include "engine/finetune/training_loop.h"

#include <algorithm>
#include <vector>

#include "engine/base/status.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/finetune/training_checkpoint.h"

namespace whipsnake::engine {
namespace {

class TrainingLoop {
 public:
  explicit TrainingLoop(const TrainingLoopInputs& inputs)
      : in_(inputs), trainer_(*inputs.trainer), saved_step_(inputs.trainer->step()) {}

  absl::StatusOr<RunEnd> Run();

 private:
  const TrainingOptions& options() const { return trainer_.options(); }
  // Whether something that is done every `interval` steps, or at the end of each epoch if that is
  // 0, is done after the trainer's last step.
  bool IsDue(int64_t interval) const {
    const int64_t every = interval > 0 ? interval : trainer_.steps_per_epoch();
    return trainer_.step() % every == 0 || trainer_.done();
  }
  absl::Status TakeStep();
  absl::Status EvaluateIfDue();
  absl::Status SaveIfDue();
  absl::Status Save();
  bool PatienceIsOver() const;
  absl::Status SaveBest() const;
  absl::Status RestoreBest() const;

  const TrainingLoopInputs& in_;
  Trainer& trainer_;
  int64_t saved_step_;
};

absl::StatusOr<RunEnd> TrainingLoop::Run() {
  absl::Status status = EvaluateIfDue();
  while (status.ok()) {
    RETURN_IF_ERROR(SaveIfDue());
    if (PatienceIsOver() || trainer_.done()) {
      RETURN_IF_ERROR(Save());
      RETURN_IF_ERROR(RestoreBest());
      return trainer_.done() ? RunEnd::kFinished : RunEnd::kStoppedEarly;
    }
    status = TakeStep();
    if (status.ok()) status = EvaluateIfDue();
  }
  if (!absl::IsCancelled(status)) return status;
  RETURN_IF_ERROR(Save());
  return RunEnd::kCancelled;
}

absl::Status TrainingLoop::TakeStep() {
  RETURN_IF_ERROR(trainer_.Step());
  return in_.observer->OnStep(trainer_);
}

absl::Status TrainingLoop::EvaluateIfDue() {
  const std::vector<EvaluationRecord>& records = trainer_.log().evaluations;
  const bool is_done = !records.empty() && records.back().step == trainer_.step();
  if (in_.evaluation == nullptr || is_done || !IsDue(options().evaluate_every)) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(trainer_.Evaluate(*in_.evaluation, [this](double fraction) {
    return in_.observer->OnStage("Evaluating", fraction);
  }));
  in_.observer->OnEvaluation(records.back());
  const bool is_best = trainer_.log().BestEvaluation() == std::ssize(records) - 1;
  return options().patience > 0 && is_best ? SaveBest() : absl::OkStatus();
}

bool TrainingLoop::PatienceIsOver() const {
  const RunLog& log = trainer_.log();
  return options().patience > 0 &&
         std::ssize(log.evaluations) - 1 - log.BestEvaluation() >= options().patience;
}

absl::Status TrainingLoop::SaveIfDue() {
  const bool is_due = trainer_.step() > 0 && IsDue(options().checkpoint_every);
  return is_due || in_.observer->WantsCheckpoint() ? Save() : absl::OkStatus();
}

absl::Status TrainingLoop::Save() {
  if (saved_step_ == trainer_.step()) return absl::OkStatus();
  const absl::Status saved =
      in_.store->Save(trainer_, *in_.identity, in_.reference, in_.keep_checkpoints);
  if (!saved.ok()) {
    in_.observer->OnCheckpointFailed(saved);
    return saved;
  }
  saved_step_ = trainer_.step();
  in_.observer->OnCheckpoint(saved_step_);
  return absl::OkStatus();
}

absl::Status TrainingLoop::SaveBest() const {
  std::vector<NamedTensor> tensors;
  for (const TrainableParameter& parameter : trainer_.model().parameters().all()) {
    tensors.push_back(
        {parameter.name, {kernels::DType::kF32, parameter.shape, parameter.value.bytes()}});
  }
  return WriteSafetensors(in_.best_file, tensors);
}

absl::Status TrainingLoop::RestoreBest() const {
  if (options().patience == 0 || trainer_.log().BestEvaluation() < 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const TensorFile file, TensorFile::Open(in_.best_file));
  for (TrainableParameter& parameter : trainer_.model().parameters().all()) {
    ASSIGN_OR_RETURN(const std::span<const std::byte> values,
                     file.Get(parameter.name, kernels::DType::kF32, parameter.shape));
    std::ranges::copy(values, parameter.value.data());
  }
  RETURN_IF_ERROR(file.file.Check());
  return trainer_.Resume(trainer_.log());
}

}  // namespace

absl::StatusOr<RunEnd> RunTrainingLoop(const TrainingLoopInputs& inputs) {
  return TrainingLoop(inputs).Run();
}

}  // namespace whipsnake::engine
