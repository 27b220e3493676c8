// The scheduler of BAdam (Luo, Yu, Li: arXiv 2404.02827): one block trains for K steps, then the
// next. A random order is drawn anew for each pass over the blocks.
//
// K is `switch_every`. Embeddings, the last norm and the head never train, as by default in the
// authors' program, but a new head trains in every step, as they advise. There is no budget: the
// block is the unit. It has no state, as the block is a function of the seed and the step.
#include "engine/finetune/freezing/blocks.h"
#include "engine/finetune/freezing/layer_budget.h"
#include "engine/finetune/freezing/random_order.h"
#include "engine/finetune/freezing/schedulers.h"

namespace whipsnake::engine {
namespace {

class BAdamScheduler : public LayerScheduler {
 public:
  explicit BAdamScheduler(const SchedulerSetup& setup)
      : LayerScheduler(SchedulerKind::kBAdam, std::ssize(setup.layers)),
        seed_(setup.seed),
        switch_every_(setup.options.switch_every),
        order_(setup.options.badam_order),
        always_active_(AlwaysActive(setup.layers)),
        blocks_(BlocksOf(setup.layers)) {}

  std::vector<bool> Choose(int64_t step) override {
    std::vector<bool> active = always_active_;
    for (const int64_t layer : blocks_[BlockAt(step / switch_every_)]) active[layer] = true;
    return active;
  }

 private:
  int64_t BlockAt(int64_t turn) const {
    const int64_t blocks = std::ssize(blocks_);
    const int64_t place = turn % blocks;
    switch (order_) {
      case BlockOrder::kRandom:
        return RandomOrder(seed_, turn / blocks, blocks)[place];
      case BlockOrder::kAscending:
        return place;
      case BlockOrder::kDescending:
        return blocks - 1 - place;
    }
    return place;
  }

  const uint64_t seed_;
  const int64_t switch_every_;
  const BlockOrder order_;
  const std::vector<bool> always_active_;
  const std::vector<std::vector<int64_t>> blocks_;
};

}  // namespace

std::unique_ptr<LayerScheduler> MakeBAdamScheduler(const SchedulerSetup& setup) {
  return std::make_unique<BAdamScheduler>(setup);
}

}  // namespace whipsnake::engine
