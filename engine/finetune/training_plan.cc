#include "engine/finetune/training_plan.h"

#include <algorithm>
#include <utility>

#include "engine/base/memory.h"
#include "engine/base/status.h"
#include "engine/models/trainable_model.h"

namespace whipsnake::engine {
namespace {

// Enough for every set of layers that matters to have been active.
constexpr int64_t kMaxPlannedSteps = 512;

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

}  // namespace

absl::StatusOr<TrainingPlan> PlanTraining(const PlannedRun& run) {
  Ledger ledger(/*limit=*/0, kernels::Device::kCpu, Ledger::Backing::kNone);
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
  plan.layers = std::ssize(trainer->freezing().layers());
  while (!trainer->done() && trainer->step() < kMaxPlannedSteps) {
    RETURN_IF_ERROR(trainer->Step());
    plan.cost += trainer->step_cost();
    plan.active_layers +=
        static_cast<double>(std::ranges::count(trainer->freezing().active(), true));
  }
  if (!run.evaluation.examples.empty()) {
    RepeatedBatch evaluation(run.evaluation, 1);
    RETURN_IF_ERROR(trainer->Evaluate(evaluation));
  }
  plan.steps = trainer->step();
  plan.cost = plan.cost.Over(plan.steps);
  plan.active_layers /= static_cast<double>(plan.steps);
  plan.memory = trainer->memory();
  plan.peak_bytes = ledger.peak();
  return plan;
}

}  // namespace whipsnake::engine
