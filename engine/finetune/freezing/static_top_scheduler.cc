// The same layers in every step: from the last one down, up to the first that does not fit in the
// budget. A control, and the least work for the backward pass, which stops at the lowest active
// layer.
#include "engine/finetune/freezing/layer_budget.h"
#include "engine/finetune/freezing/schedulers.h"

namespace whipsnake::engine {
namespace {

std::vector<bool> TopLayers(const SchedulerSetup& setup) {
  const LayerBudget budget(setup.options, setup.layers);
  ActiveSet set(budget, AlwaysActive(setup.layers));
  int64_t layer = budget.layers() - 1;
  while (layer >= 0 && set.Add(layer)) --layer;
  return set.active();
}

class StaticTopScheduler : public LayerScheduler {
 public:
  explicit StaticTopScheduler(const SchedulerSetup& setup)
      : LayerScheduler(SchedulerKind::kStaticTop, std::ssize(setup.layers)),
        active_(TopLayers(setup)) {}

  std::vector<bool> Choose(int64_t /*step*/) override { return active_; }

 private:
  const std::vector<bool> active_;
};

}  // namespace

std::unique_ptr<LayerScheduler> MakeStaticTopScheduler(const SchedulerSetup& setup) {
  return std::make_unique<StaticTopScheduler>(setup);
}

}  // namespace whipsnake::engine
