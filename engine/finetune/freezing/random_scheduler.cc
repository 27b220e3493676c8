// Layers in a random order, as far as they fit in the budget, for `switch_every` steps. A control:
// every layer has the same chance, whatever it shows. It has no state, as the order is a function
// of the seed and the step.
#include "engine/finetune/freezing/layer_budget.h"
#include "engine/finetune/freezing/random_order.h"
#include "engine/finetune/freezing/schedulers.h"

namespace whipsnake::engine {
namespace {

class RandomScheduler : public LayerScheduler {
 public:
  explicit RandomScheduler(const SchedulerSetup& setup)
      : LayerScheduler(SchedulerKind::kRandom, std::ssize(setup.layers)),
        seed_(setup.seed),
        switch_every_(setup.options.switch_every),
        budget_(setup.options, setup.layers),
        always_active_(AlwaysActive(setup.layers)) {}

  std::vector<bool> Choose(int64_t step) override {
    return Fill(budget_, always_active_, RandomOrder(seed_, step / switch_every_, layers()));
  }

 private:
  const uint64_t seed_;
  const int64_t switch_every_;
  const LayerBudget budget_;
  const std::vector<bool> always_active_;
};

}  // namespace

std::unique_ptr<LayerScheduler> MakeRandomScheduler(const SchedulerSetup& setup) {
  return std::make_unique<RandomScheduler>(setup);
}

}  // namespace whipsnake::engine
