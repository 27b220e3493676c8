// Freezes the layers of a model that do not train in a step, as a scheduler chooses them.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_LAYER_FREEZING_H_
#define WHIPSNAKE_ENGINE_FINETUNE_LAYER_FREEZING_H_

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/finetune/freezing/freezing_options.h"
#include "engine/finetune/freezing/layer_scheduler.h"
#include "engine/layers/training/store_policy.h"
#include "engine/models/trainable_model.h"
#include "kernels/optimizer/optimizer.h"

namespace whipsnake::engine {

// Not thread-safe.
class LayerFreezing {
 public:
  // Schedules the layers of a model that have a parameter to train; parameters that do not train
  // now stay frozen in every step. The dynamic bytes of a layer are those of its gradients, and of
  // its input for `tokens` rows, as far as `policy` does not store it anyway. Returns the errors of
  // MakeLayerScheduler. The model must outlive it.
  static absl::StatusOr<LayerFreezing> Create(const FreezingOptions& options, uint64_t seed,
                                              const StorePolicy& policy, int64_t tokens,
                                              TrainableModel* model);

  // Sets TrainableParameter::trains for a step.
  void Choose(int64_t step);
  // Whether the update of a parameter is to be measured.
  bool Measures(const TrainableParameter& parameter) const;
  // Takes the measure of a step's update, in which gradients were multiplied by `gradient_scale`.
  // The parameter's learning rate was the step's times `learning_rate_factor`.
  void SetMeasure(const TrainableParameter& parameter, const kernels::UpdateMeasure& measure,
                  double gradient_scale, double learning_rate_factor);
  // Gives the step's measures to the scheduler. `learning_rate` is the step's.
  void Observe(int64_t step, double learning_rate);
  // The same with random measures, for a plan. They are alike for layers of every size, and fall
  // from step to step, so that layers take turns.
  void ObserveRandom(int64_t step, double learning_rate);

  const std::vector<ScheduledLayer>& layers() const { return layers_; }
  // Of each layer, those that train only if it is active.
  const std::vector<std::vector<TrainableParameter*>>& parameters() const { return parameters_; }
  // Whether the choices depend on measures.
  bool measures() const { return measures_; }
  // Whether each layer trains in the step.
  const std::vector<bool>& active() const { return active_; }
  LayerScheduler& scheduler() { return *scheduler_; }

 private:
  LayerFreezing() = default;

  std::vector<ScheduledLayer> layers_;
  std::vector<std::vector<TrainableParameter*>> parameters_;  // of each layer, the weight first
  // Of the first parameter of each layer that trains, whose updates are the layer's.
  std::unordered_map<const TrainableParameter*, int64_t> layer_of_first_;
  std::unique_ptr<LayerScheduler> scheduler_;
  bool measures_ = false;  // whether the scheduler uses measures
  std::vector<bool> active_;
  std::vector<LayerMeasure> measured_;  // by layer; of active ones in this step
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_LAYER_FREEZING_H_
