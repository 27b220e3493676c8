// The settings of a training run.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_TRAINING_OPTIONS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_TRAINING_OPTIONS_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/finetune/data/task.h"
#include "engine/finetune/freezing/freezing_options.h"
#include "engine/finetune/learning_rate.h"
#include "engine/finetune/objective.h"
#include "engine/finetune/optimizer.h"
#include "engine/layers/training/store_policy.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

struct TrainingOptions {
  Task task = Task::kCausalLm;
  ObjectiveOptions objective;
  OptimizerOptions optimizer;

  double learning_rate = 5e-5;  // the largest of the schedule
  Schedule schedule = Schedule::kLinear;
  double warmup = 0;      // the part of all steps that the warm-up takes, in [0,1]
  double epochs = 3;      // may have a fraction
  int64_t max_steps = 0;  // ends earlier; 0: no limit

  int64_t batch_size = 8;  // examples of an optimizer step
  // Examples that go through the model at once: a step accumulates over ceil(batch_size /
  // micro_batch) passes. 0: the whole batch.
  int64_t micro_batch = 0;
  // The gradients of a step are scaled down to this norm over all parameters. 0: no clipping.
  double max_gradient_norm = 1;
  // Applies the update of a tensor as soon as its gradient is complete, so that gradients of the
  // whole model never exist at once. Their norm is then not known, so max_gradient_norm must be 0.
  bool update_in_backward = false;
  bool gradient_checkpointing = false;  // recomputes each block instead of keeping its activations

  // How activations are held for the backward pass, under each scheduler.
  Compression compression = Compression::kNone;

  FreezingOptions freezing;  // which layers train in a step
  // Patterns (name_pattern.h) of the parameters that stay as they are in every step.
  std::vector<std::string> freeze;

  kernels::DType arithmetic = kernels::DType::kF32;  // of matrix products: kF32 or kBF16
  std::optional<float> dropout;  // of all dropout layers; unset: those of the model's config
  uint64_t seed = 0;             // of shuffling, dropout and new heads

  int64_t evaluate_every = 0;  // steps; 0: at the end of each epoch
  // Stops after this many evaluations in a row whose loss is not below the lowest; 0: never.
  int64_t patience = 0;
  int64_t checkpoint_every = 0;  // steps; 0: at the end of each epoch

  StorePolicy store_policy() const {
    return StorePolicy::Of(compression, gradient_checkpointing, arithmetic);
  }
  int64_t accumulation() const {
    return micro_batch == 0 ? 1 : (batch_size + micro_batch - 1) / micro_batch;
  }
};

// Which of the settings that decide about memory are given.
struct GivenSettings {
  bool scheduler = false;
  bool rate = false;
  bool compression = false;
  bool checkpointing = false;
  bool moments = false;
  bool update_in_backward = false;
};

// How activations are held with a scheduler if nothing else is given.
Compression DefaultCompression(SchedulerKind scheduler, FreezingRecipe recipe);

// Returns INVALID_ARGUMENT, naming the first field whose value is out of range or contradicts
// another.
absl::Status Validate(const TrainingOptions& options);

// Everything that decides the result, for reports and to tell whether a checkpoint is of the same
// run.
nlohmann::json ToJson(const TrainingOptions& options);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_TRAINING_OPTIONS_H_
