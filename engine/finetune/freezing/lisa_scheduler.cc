// The scheduler of LISA (Pan et al., arXiv 2403.17919): γ random blocks train for K steps, and the
// embeddings, the last norm and the head train in every step.
//
// γ is `lisa_blocks`, K is `switch_every`. Without γ, blocks are taken in a random order, as far as
// they fit in the budget with the layers that always train. It has no state, as the order is a
// function of the seed and the step.
#include "engine/finetune/freezing/blocks.h"
#include "engine/finetune/freezing/layer_budget.h"
#include "engine/finetune/freezing/random_order.h"
#include "engine/finetune/freezing/schedulers.h"

namespace whipsnake::engine {
namespace {

// The number of blocks takes the place of the budget.
FreezingOptions BudgetOf(FreezingOptions options) {
  if (options.lisa_blocks > 0) options.rate = 0;
  return options;
}

std::vector<bool> LayersOfNoBlock(std::span<const ScheduledLayer> layers) {
  std::vector<bool> active = AlwaysActive(layers);
  for (int64_t layer = 0; layer < std::ssize(layers); ++layer) {
    if (layers[layer].block < 0) active[layer] = true;
  }
  return active;
}

class LisaScheduler : public LayerScheduler {
 public:
  explicit LisaScheduler(const SchedulerSetup& setup)
      : LayerScheduler(SchedulerKind::kLisa, std::ssize(setup.layers)),
        seed_(setup.seed),
        switch_every_(setup.options.switch_every),
        budget_(BudgetOf(setup.options), setup.layers),
        always_active_(LayersOfNoBlock(setup.layers)),
        blocks_(BlocksOf(setup.layers)),
        limit_(setup.options.lisa_blocks > 0 ? setup.options.lisa_blocks : std::ssize(blocks_)) {}

  std::vector<bool> Choose(int64_t step) override {
    std::vector<int64_t> order = RandomOrder(seed_, step / switch_every_, std::ssize(blocks_));
    order.resize(limit_);
    ActiveSet set(budget_, always_active_);
    for (const int64_t block : order) set.Add(blocks_[block]);
    return set.active();
  }

 private:
  const uint64_t seed_;
  const int64_t switch_every_;
  const LayerBudget budget_;
  const std::vector<bool> always_active_;
  const std::vector<std::vector<int64_t>> blocks_;
  const int64_t limit_;  // blocks at a time
};

}  // namespace

std::unique_ptr<LayerScheduler> MakeLisaScheduler(const SchedulerSetup& setup) {
  return std::make_unique<LisaScheduler>(setup);
}

}  // namespace whipsnake::engine
