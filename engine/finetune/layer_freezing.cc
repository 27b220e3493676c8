#include "engine/finetune/layer_freezing.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/status.h"
#include "engine/finetune/freezing/random_order.h"

namespace whipsnake::engine {
namespace {

// The bytes of a layer's input that are stored only if its weight trains.
int64_t DynamicInputBytes(const TrainableLayer& layer, const StorePolicy& policy, int64_t tokens) {
  const auto bytes = [&](TensorClass tensor_class) {
    return StoredBytes(policy.format(tensor_class), tokens, layer.input_width);
  };
  // With recomputation, inputs exist for one block at a time.
  if (layer.input_width == 0 || policy.recompute) return 0;
  const int64_t anyway = layer.held_as != TensorClass::kTransient ? bytes(layer.held_as) : 0;
  return std::max<int64_t>(bytes(layer.input) - anyway, 0);
}

// The parameters of a layer that freezing concerns.
std::vector<TrainableParameter*> ScheduledParameters(const TrainableLayer& layer,
                                                     bool train_biases) {
  std::vector<TrainableParameter*> parameters = layer.parameters;
  if (train_biases) parameters.resize(1);
  std::erase_if(parameters, [](const TrainableParameter* parameter) { return !parameter->trains; });
  return parameters;
}

// Whether a model that was not drawn as a whole has drawn this parameter: a new head.
bool IsNew(const TrainableModel& model, const std::string& name) {
  return model.fresh().size() < model.parameters().all().size() &&
         std::ranges::find(model.fresh(), name) != model.fresh().end();
}

}  // namespace

absl::StatusOr<LayerFreezing> LayerFreezing::Create(const FreezingOptions& options, uint64_t seed,
                                                    const StorePolicy& policy, int64_t tokens,
                                                    TrainableModel* model) {
  LayerFreezing freezing;
  for (const TrainableLayer& layer : model->parameters().layers()) {
    std::vector<TrainableParameter*> parameters = ScheduledParameters(layer, options.train_biases);
    if (parameters.empty()) continue;
    const TrainableParameter& weight = *layer.parameters.front();
    int64_t bytes = weight.trains ? DynamicInputBytes(layer, policy, tokens) : 0;
    for (const auto* parameter : parameters) {
      bytes += parameter->elements() * static_cast<int64_t>(sizeof(float));
    }
    freezing.layer_of_first_[parameters.front()] = std::ssize(freezing.layers_);
    freezing.layers_.push_back({.name = layer.name,
                                .block = layer.block,
                                .elements = parameters.front()->elements(),
                                .dynamic_bytes = bytes,
                                .always_active = options.recipe == FreezingRecipe::kDefault &&
                                                 IsNew(*model, weight.name)});
    freezing.parameters_.push_back(std::move(parameters));
  }
  if (freezing.layers_.empty()) {
    return absl::InvalidArgumentError(
        "freeze: patterns that leave no weight to train seen, expected some that do, or "
        "train_biases false, so that biases are scheduled too");
  }
  ASSIGN_OR_RETURN(freezing.scheduler_, MakeLayerScheduler(options, freezing.layers_, seed));
  freezing.measures_ = freezing.scheduler_->measures();
  freezing.active_.assign(freezing.layers_.size(), true);
  freezing.measured_.resize(freezing.layers_.size());
  return freezing;
}

void LayerFreezing::Choose(int64_t step) {
  active_ = scheduler_->Choose(step);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    for (TrainableParameter* parameter : parameters_[i]) parameter->trains = active_[i];
  }
}

bool LayerFreezing::Measures(const TrainableParameter& parameter) const {
  return measures_ && layer_of_first_.contains(&parameter);
}

void LayerFreezing::SetMeasure(const TrainableParameter& parameter,
                               const kernels::UpdateMeasure& measure, double gradient_scale,
                               double learning_rate_factor) {
  const int64_t layer = layer_of_first_.at(&parameter);
  const auto n = static_cast<double>(parameter.elements());
  measured_[layer] = {.layer = layer,
                      .distance = measure.relative_change / n,
                      .guarded_distance = measure.guarded_change / n,
                      .change_norm = std::sqrt(measure.change_squares),
                      .value_norm = std::sqrt(measure.value_squares),
                      .gradient_norm = std::sqrt(measure.gradient_squares) / gradient_scale,
                      .learning_rate_factor = learning_rate_factor};
}

void LayerFreezing::Observe(int64_t step, double learning_rate) {
  if (!measures_) return;
  std::vector<LayerMeasure> measures;
  for (size_t i = 0; i < active_.size(); ++i) {
    if (active_[i]) measures.push_back(measured_[i]);
  }
  scheduler_->Observe(step, learning_rate, measures);
}

void LayerFreezing::ObserveRandom(int64_t step, double learning_rate) {
  const int64_t L = std::ssize(layers_);
  const std::vector<int64_t> order = RandomOrder(/*seed=*/0, step, L);
  const double scale = learning_rate * std::pow(0.97, static_cast<double>(step));
  for (size_t i = 0; i < measured_.size(); ++i) {
    const double change = scale * static_cast<double>(L + order[i]);
    measured_[i] = {.layer = static_cast<int64_t>(i),
                    .distance = change,
                    .guarded_distance = change,
                    .change_norm = change,
                    .value_norm = 1,
                    .gradient_norm = std::sqrt(change * static_cast<double>(layers_[i].elements))};
  }
  Observe(step, learning_rate);
}

}  // namespace whipsnake::engine
