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

// Enough for every set of layers that matters to have been active.
constexpr int64_t kMaxPlannedSteps = 256;
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

int64_t TokensOfBatch(const TrainingBatch& batch) {
  int64_t tokens = 0;
  for (const Example& example : batch.examples) tokens += example.tokens();
  return tokens;
}

constexpr int64_t kHeapStep = int64_t{2} << 20;  // by which the heap grows

int64_t UncertainBytes(SchedulerKind scheduler, int64_t peak_bytes) {
  const bool measures = scheduler == SchedulerKind::kSlimFit || scheduler == SchedulerKind::kMisa;
  return measures ? std::max(kHeapStep, peak_bytes / 50) : 0;
}

int64_t StepsToPlan(const Trainer& trainer) {
  const SchedulerKind scheduler = trainer.options().freezing.scheduler;
  const bool chooses = scheduler != SchedulerKind::kFull && scheduler != SchedulerKind::kStaticTop;
  return std::min(trainer.steps(), chooses ? kMaxPlannedSteps : kStepsWithoutChoices);
}

// Takes steps, up to the limit, and adds up what they cost.
absl::Status PlanSteps(Trainer& trainer, TrainingPlan& plan) {
  for (const int64_t steps = StepsToPlan(trainer); trainer.step() < steps;) {
    RETURN_IF_ERROR(trainer.Step());
    plan.cost += trainer.step_cost();
    plan.active_layers +=
        static_cast<double>(std::ranges::count(trainer.freezing().active(), true));
    plan.memory.moments = std::max(plan.memory.moments, trainer.optimizer().bytes());
  }
  plan.cost = plan.cost.Over(trainer.step());
  plan.active_layers /= static_cast<double>(trainer.step());
  return absl::OkStatus();
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
  plan.tokens = TokensOfBatch(run.training);
  plan.layers = std::ssize(trainer->freezing().layers());
  if (!run.evaluation.examples.empty()) {  // a run begins with one
    RepeatedBatch evaluation(run.evaluation, 1);
    RETURN_IF_ERROR(trainer->Evaluate(evaluation));
  }
  RETURN_IF_ERROR(PlanSteps(*trainer, plan));
  plan.memory = trainer->memory();
  plan.peak_bytes = ledger.peak();
  plan.uncertain_bytes = UncertainBytes(run.options.freezing.scheduler, plan.peak_bytes);
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
