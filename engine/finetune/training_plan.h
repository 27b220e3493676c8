// What a training run needs, before it runs.
//
// A plan is made by the trainer itself: it takes the run's steps with tensors that have no memory
// and kernels that are not called. So a plan counts every tensor that the run makes, at the moment
// at which it makes it. What it cannot know are the measures by which a scheduler chooses layers;
// it takes random ones instead, over as many steps as the run has, up to a limit.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_TRAINING_PLAN_H_
#define WHIPSNAKE_ENGINE_FINETUNE_TRAINING_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/finetune/trainer.h"
#include "engine/finetune/training_options.h"
#include "engine/layers/training/pass_cost.h"
#include "engine/models/config.h"

namespace whipsnake::engine {

// What a plan is made for.
struct PlannedRun {
  const ModelConfig* config = nullptr;
  TrainingOptions options;
  std::vector<std::string> fresh;  // parameters that are drawn at random; see TrainableModel
  TrainingBatch training;          // at least as large as every batch of a step
  TrainingBatch evaluation;        // of an evaluation; without examples: none
  int64_t batches_per_epoch = 1;
};

struct TrainingPlan {
  int64_t peak_bytes = 0;    // of parameters, moments and the heap together
  TrainingMemory memory;     // of each, at its own highest
  int64_t steps = 0;         // that were planned
  PassCost cost;             // of a step, the mean
  double active_layers = 0;  // in a step, the mean; of `layers`
  int64_t layers = 0;
};

// Returns the errors of Trainer::Create, and UNIMPLEMENTED or FAILED_PRECONDITION for a model that
// cannot be trained. Takes milliseconds and no memory to speak of.
absl::StatusOr<TrainingPlan> PlanTraining(const PlannedRun& run);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_TRAINING_PLAN_H_
