// The layers that can be active at once.
//
// With c[l] the cost of layer l and C = Σ c[l], a set of layers may cost C - ⌊r·C⌋, where r is the
// freezing rate. The cost is 1 if the unit is layers, so that ⌊r·L⌋ of L layers are frozen, and the
// layer's dynamic bytes if it is bytes.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_FREEZING_LAYER_BUDGET_H_
#define WHIPSNAKE_ENGINE_FINETUNE_FREEZING_LAYER_BUDGET_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/finetune/freezing/layer_scheduler.h"

namespace whipsnake::engine {

class LayerBudget {
 public:
  LayerBudget(const FreezingOptions& options, std::span<const ScheduledLayer> layers);

  int64_t cost(int64_t layer) const { return costs_[layer]; }
  int64_t layers() const { return static_cast<int64_t>(costs_.size()); }
  int64_t limit() const { return limit_; }

 private:
  std::vector<int64_t> costs_;
  int64_t limit_ = 0;
};

// A set of active layers in the making, within a budget, which must outlive it. It starts with the
// layers that are always active. The first ones that are added need not fit, so that no set lacks
// a layer that can change, and every layer can have its turn.
class ActiveSet {
 public:
  ActiveSet(const LayerBudget& budget, const std::vector<bool>& always_active);

  // Adds the layers if they fit together, and returns whether they are in the set now.
  bool Add(std::span<const int64_t> layers);
  bool Add(int64_t layer) { return Add({&layer, 1}); }

  const std::vector<bool>& active() const { return active_; }

 private:
  const LayerBudget& budget_;
  std::vector<bool> active_;
  int64_t cost_ = 0;
  bool has_added_ = false;
};

// By layer.
std::vector<bool> AlwaysActive(std::span<const ScheduledLayer> layers);

// Returns the set that takes layers in this order and passes over those that do not fit.
std::vector<bool> Fill(const LayerBudget& budget, const std::vector<bool>& always_active,
                       std::span<const int64_t> order);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_FREEZING_LAYER_BUDGET_H_
