// Chooses the layers that train in each step.
//
// A layer is a weight with what belongs to it, such as its bias. An active layer saves its input in
// the forward pass and gets a gradient in the backward pass; a frozen one does neither, and its
// dynamic bytes never exist. Layers are numbered from 0 in the order of the forward pass; L is
// their number.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_FREEZING_LAYER_SCHEDULER_H_
#define WHIPSNAKE_ENGINE_FINETUNE_FREEZING_LAYER_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/finetune/freezing/freezing_options.h"

namespace whipsnake::engine {

// A layer as schedulers see it.
struct ScheduledLayer {
  std::string name = {};
  int64_t block = -1;    // -1: of no block, as embeddings, the last norm and the head
  int64_t elements = 1;  // of the parameter that is measured: the first that trains
  // That exist in a step only if the layer is active: its saved input, its gradients.
  int64_t dynamic_bytes = 0;
  // Whether every set has the layer, because its values were drawn at random: a new head.
  bool always_active = false;
};

// What the update of an active layer's weight showed. w are its values before the update, Δ are the
// changes.
struct LayerMeasure {
  int64_t layer = 0;
  double distance = 0;          // the mean of |Δ/w|: infinite or NaN where w has zeros
  double guarded_distance = 0;  // the same with a lower bound of |w|
  double change_norm = 0;       // ‖Δ‖
  double value_norm = 0;        // ‖w‖
  double gradient_norm = 0;     // before clipping
  // By which the layer's learning rate differs from the step's: that of its parameter group.
  double learning_rate_factor = 1;
};

// For each step in order, Choose() and then Observe(). All randomness is a function of the seed and
// of the calls so far. Not thread-safe.
class LayerScheduler {
 public:
  LayerScheduler(SchedulerKind kind, int64_t layers) : kind_(kind), layers_(layers) {}
  virtual ~LayerScheduler() = default;

  // Returns for each layer whether it is active in the step; at least one is. `step` is the number
  // of steps before it.
  virtual std::vector<bool> Choose(int64_t step) = 0;
  // Whether choices depend on measures; if not, Observe() does nothing.
  virtual bool measures() const { return false; }
  // Takes the measures of the step's active layers.
  virtual void Observe(int64_t /*step*/, double /*learning_rate*/,
                       std::span<const LayerMeasure> /*measures*/) {}

  // Everything by which the scheduler differs from a fresh one of the same options, layers and
  // seed. The document has finite numbers only.
  nlohmann::json State() const;
  // Continues from a state after a step, as if the run had not stopped. Returns INVALID_ARGUMENT,
  // naming the key, and changes nothing, if it is not of the same scheduler and number of layers.
  absl::Status Restore(const nlohmann::json& state);

 protected:
  int64_t layers() const { return layers_; }

 private:
  // Adds the scheduler's own keys.
  virtual void Save(nlohmann::json& /*state*/) const {}
  // Reads them. Changes nothing if it fails.
  virtual absl::Status Load(const nlohmann::json& /*state*/) { return absl::OkStatus(); }

  const SchedulerKind kind_;
  const int64_t layers_;
};

// Returns INVALID_ARGUMENT, naming the field, for options out of range, for no layers, and if
// blocks are needed and the layers have too few.
absl::StatusOr<std::unique_ptr<LayerScheduler>> MakeLayerScheduler(
    const FreezingOptions& options, std::vector<ScheduledLayer> layers, uint64_t seed);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_FREEZING_LAYER_SCHEDULER_H_
