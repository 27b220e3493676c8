#include "engine/finetune/plan/training_plan.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/memory.h"
#include "engine/base/status.h"
#include "engine/models/trainable_model.h"

namespace whipsnake::engine {
namespace {

// A step with new layers takes about a millisecond, one with the layers of an earlier step far
// less.
constexpr int64_t kMaxPlannedSteps = 20000;
constexpr int64_t kMaxPlannedSets = 1024;
constexpr int64_t kMaxPlannedSetsByMeasures = 256;  // as the run has others anyway
// Without choices, all steps but the first, after which there are moments, are the same.
constexpr int64_t kStepsWithoutChoices = 3;

// A batch that comes again and again.
class RepeatedBatch : public BatchSource {
 public:
  RepeatedBatch(const TrainingBatch& batch, int64_t batches) : batch_(batch), batches_(batches) {}
  int64_t batches() const override { return batches_; }
  TrainingBatch Largest() const override { return batch_; }
  absl::StatusOr<TrainingBatch> Read(int64_t, int64_t) override { return batch_; }

 private:
  const TrainingBatch& batch_;
  const int64_t batches_;
};

// Whether the layers that train differ from step to step.
bool Chooses(const Trainer& trainer) {
  const SchedulerKind scheduler = trainer.options().freezing.scheduler;
  return scheduler != SchedulerKind::kFull && scheduler != SchedulerKind::kStaticTop;
}

// Whether the layers of all steps are known after the steps that are planned.
bool AllStepsKnown(const Trainer& trainer) { return !Chooses(trainer) || trainer.done(); }

// Allocates the moments of the layers that no step has trained, as later ones may.
absl::Status AllocateMoments(Trainer& trainer) {
  Optimizer& optimizer = trainer.optimizer();
  for (const std::vector<TrainableParameter*>& layer : trainer.freezing().parameters()) {
    for (const TrainableParameter* parameter : layer) {
      if (optimizer.step(*parameter) == 0) RETURN_IF_ERROR(optimizer.Restore(*parameter, 1));
    }
  }
  return absl::OkStatus();
}

// Takes steps, up to the limits, and adds up what they cost.
absl::Status PlanSteps(Trainer& trainer, TrainingPlan& plan) {
  const int64_t steps =
      std::min(trainer.steps(), Chooses(trainer) ? kMaxPlannedSteps : kStepsWithoutChoices);
  const int64_t sets = trainer.freezing().measures() ? kMaxPlannedSetsByMeasures : kMaxPlannedSets;
  while (trainer.step() < steps && trainer.planned_sets() < sets) {
    RETURN_IF_ERROR(trainer.Step());
    plan.cost += trainer.step_cost();
    plan.active_layers +=
        static_cast<double>(std::ranges::count(trainer.freezing().active(), true));
  }
  plan.cost = plan.cost.Over(trainer.step());
  plan.active_layers /= static_cast<double>(trainer.step());
  if (AllStepsKnown(trainer) || trainer.options().optimizer.moments == MomentKind::kDrop) {
    return absl::OkStatus();
  }
  return AllocateMoments(trainer);
}

}  // namespace

absl::StatusOr<TrainingPlan> PlanTraining(const PlannedRun& run) {
  Ledger ledger(/*limit=*/0, kernels::Device::kCpu, Ledger::Backing::kNone);
  ASSIGN_OR_RETURN(const Reservation held,
                   ledger.Reserve(run.held_bytes, Purpose::kWorkspace, "the data"));
  ASSIGN_OR_RETURN(const auto model,
                   TrainableModel::WithoutValues(*run.config,
                                                 {.arithmetic = run.options.arithmetic,
                                                  .dropout = run.options.dropout,
                                                  .seed = run.options.seed},
                                                 run.fresh, ledger));
  RepeatedBatch training(run.training, run.batches_per_epoch);
  ASSIGN_OR_RETURN(const auto trainer, Trainer::Create(model.get(), &training, run.options,
                                                       {.executor = nullptr, .ledger = &ledger}));
  TrainingPlan plan;
  plan.held_bytes = run.held_bytes;
  plan.steps = trainer->steps();
  plan.tokens = run.training.tokens();
  plan.layers = std::ssize(trainer->freezing().layers());
  if (!run.evaluation.examples.empty()) {  // a run begins with one
    RepeatedBatch evaluation(run.evaluation, 1);
    RETURN_IF_ERROR(trainer->Evaluate(evaluation));
  }
  RETURN_IF_ERROR(PlanSteps(*trainer, plan));
  plan.memory = trainer->memory();
  plan.peak_bytes = ledger.peak();
  if (trainer->freezing().measures() || !AllStepsKnown(*trainer) || run.is_ragged) {
    plan.uncertain_bytes = std::max(2 * kHeapStep, plan.peak_bytes / 50);
  }
  return plan;
}

nlohmann::ordered_json ToJson(const TrainingPlan& plan) {
  nlohmann::ordered_json classes;
  for (int i = 0; i < kTensorClassCount; ++i) {
    classes[std::string(Name(static_cast<TensorClass>(i)))] = plan.memory.classes[i];
  }
  return {{"peak_bytes", plan.peak_bytes},
          {"sufficient_bytes", plan.sufficient_bytes()},
          {"parameter_bytes", plan.memory.parameters},
          {"moment_bytes", plan.memory.moments},
          {"heap_bytes", plan.memory.activations},
          {"held_bytes", plan.held_bytes},
          {"bytes_by_class", std::move(classes)},
          {"steps", plan.steps},
          {"tokens", plan.tokens},
          {"layers", plan.layers},
          {"active_layers", plan.active_layers},
          {"product_flops", plan.cost.product_flops},
          {"attention_flops", plan.cost.attention_flops},
          {"scan_elements", plan.cost.scan_elements},
          {"other_bytes", plan.cost.bytes},
          {"weight_gradients", plan.cost.weight_gradients}};
}

}  // namespace whipsnake::engine
