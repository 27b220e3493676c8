#include "engine/finetune/freezing/layer_budget.h"

#include <cmath>
#include <iterator>
#include <numeric>

namespace whipsnake::engine {

LayerBudget::LayerBudget(const FreezingOptions& options, std::span<const ScheduledLayer> layers) {
  for (const ScheduledLayer& layer : layers) {
    costs_.push_back(options.unit == FreezingUnit::kLayers ? 1 : layer.dynamic_bytes);
  }
  const int64_t all = std::accumulate(costs_.begin(), costs_.end(), int64_t{0});
  limit_ = all - static_cast<int64_t>(std::floor(options.rate * static_cast<double>(all)));
}

ActiveSet::ActiveSet(const LayerBudget& budget, const std::vector<bool>& always_active)
    : budget_(budget), active_(always_active) {
  for (int64_t layer = 0; layer < budget.layers(); ++layer) {
    if (active_[layer]) cost_ += budget.cost(layer);
  }
}

bool ActiveSet::Add(std::span<const int64_t> layers) {
  int64_t cost = 0;
  bool adds = false;
  for (const int64_t layer : layers) {
    if (active_[layer]) continue;
    cost += budget_.cost(layer);
    adds = true;
  }
  if (!adds) return true;
  if (has_added_ && cost_ + cost > budget_.limit()) return false;
  for (const int64_t layer : layers) active_[layer] = true;
  cost_ += cost;
  has_added_ = true;
  return true;
}

std::vector<bool> AlwaysActive(std::span<const ScheduledLayer> layers) {
  std::vector<bool> always;
  for (const ScheduledLayer& layer : layers) always.push_back(layer.always_active);
  return always;
}

std::vector<bool> Fill(const LayerBudget& budget, const std::vector<bool>& always_active,
                       std::span<const int64_t> order) {
  ActiveSet set(budget, always_active);
  for (const int64_t layer : order) set.Add(layer);
  return set.active();
}

}  // namespace whipsnake::engine
