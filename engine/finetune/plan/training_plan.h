// What a training run needs, before it runs.
//
// A plan is made by the trainer itself: it takes the run's steps with tensors that have no memory
// and kernels that are not called. So a plan counts every tensor that the run makes, at the moment
// at which it makes it. Steps with the layers of an earlier one are not counted again. What it
// cannot know are the measures by which a scheduler chooses layers; it takes random ones instead.
// With schedulers that need no measures, the planned peak is that of the run. In a run with more
// choices than the planner tries, layers that none of these trains have moments in the plan.
//
// A plan does not contain what a ledger does not count: the program itself, the kernels' scratch
// memory (12 MiB and 768 KiB for each thread for products; that of attention and of scans is in
// their headers), the tokenizer, the texts of one batch, and files that are mapped while weights
// are read and written.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_PLAN_TRAINING_PLAN_H_
#define WHIPSNAKE_ENGINE_FINETUNE_PLAN_TRAINING_PLAN_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
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
  bool is_ragged = false;  // whether batches differ in length
  int64_t held_bytes = 0;  // that the ledger counts during the whole run, such as the data's index
};

struct TrainingPlan {
  int64_t peak_bytes = 0;  // of parameters, moments, the heap and what the ledger held, together
  // A margin for what is not in the plan: the run's measures differ from random ones, it has more
  // choices of layers than are planned, or its batches differ in length, so that smaller ones leave
  // other gaps in the heap. 2% of the peak, but at least two steps of the heap; 0 if all is known.
  int64_t uncertain_bytes = 0;
  int64_t held_bytes = 0;    // see PlannedRun
  TrainingMemory memory;     // of each, at its own highest
  int64_t steps = 0;         // of the run
  int64_t tokens = 0;        // of its largest batch
  PassCost cost;             // of a step with the largest batch, the mean
  double active_layers = 0;  // in a step, the mean; of `layers`
  int64_t layers = 0;

  // What a run is admitted with. It is enough if all is known; otherwise the margin has
  // been enough in tests, and a run that needs more ends with RESOURCE_EXHAUSTED.
  int64_t sufficient_bytes() const { return peak_bytes + uncertain_bytes; }
};

// Returns the errors of Trainer::Create, and UNIMPLEMENTED or FAILED_PRECONDITION for a model that
// cannot be trained. Takes milliseconds, or seconds for a large model whose layers are chosen, and
// no memory to speak of.
absl::StatusOr<TrainingPlan> PlanTraining(const PlannedRun& run);

// Keys: peak_bytes, sufficient_bytes, parameter_bytes, moment_bytes, heap_bytes, held_bytes,
// bytes_by_class (an object by the names of TensorClass), steps, tokens, layers, active_layers,
// product_flops, attention_flops, scan_elements, other_bytes, weight_gradients.
nlohmann::ordered_json ToJson(const TrainingPlan& plan);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_PLAN_TRAINING_PLAN_H_
